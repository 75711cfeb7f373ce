"""The search index: vectors cached once, builds verified before they are put in service, and searches in one build."""
