"""What doctor checks, one module a part of the workspace; each check yields findings."""
