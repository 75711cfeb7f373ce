"""Tasks: declarations and their files, versions, prompts, requests, answers and corrections."""
