"""List the commands of `findable` by name; a command's module is imported only when it is used."""

import copy
import importlib

import click

from pipeline.core.settings import PREFIX

COMMANDS = {  # by name: the module in jobs (and a function of it that is not `main`), and a summary for the list
    "demo": ("demo", "Run the whole chain on invented data, on the local engine."),
    "ask": ("begin:ask_some", "Ask about a few rows of any table, and price the rest."),
    "verify-gemini": ("keep:verify_api", "Meet the API with five rows, and report what it does."),
    "new-task": ("begin:write_task", "Write the file of a task of your own, for a table."),
    "try": ("show:try_some", "Ask about a few rows, and show what goes out and comes back."),
    "import": ("begin", "Import people from a CSV, JSON or JSON lines file."),
    "import-images": ("begin:import_images", "Import the images below a folder."),
    "preflight": ("asking:preflight", "Estimate cost and time of tagging, before it is spent."),
    "tag": ("asking", "Tag all untagged people, live or by batch."),
    "run": ("keep:do_due", "Do once whatever is due; for cron."),
    "batch-submit": ("asking:submit_open", "Submit batches for all untagged people with a bio."),
    "batch-poll": ("asking:poll_open", "Wait until every batch is over, and download results."),
    "batch-ingest": ("asking:ingest_downloaded", "Judge every result line and write the answers."),
    "batches": ("asking:list_all", "List every batch: state, remote name, rows, cost, times."),
    "costs": ("asking:list_costs", "Add up what was spent, by day, task, model or batch."),
    "batch-cancel": ("asking:cancel_one", "Cancel a batch and release its people."),
    "score": ("items:score_again", "Recompute all findability scores."),
    "index": ("search:build_index", "Rebuild the search index from all tagged people."),
    "search": ("search", "Find the experts nearest to a question."),
    "add-expert": ("begin:add_one", "Add one person from a JSON file, tagged at once."),
    "items": ("items", "List items by a part of their name, in any state."),
    "tags": ("items:edit_tags", "List the tags of people, merge them, or edit those of one."),
    "show": ("show", "Show everything known about one person, or any item."),
    "log": ("show:list_requests", "List the newest requests, and what came of each."),
    "export": ("items:export_all", "Write all experts with tags and scores to a file."),
    "status": ("items:show_status", "Show the state of the workspace, and the next command."),
    "qc": ("keep:measure", "Measure the answers again, and write the report."),
    "parked": ("keep:list_parked", "List people who failed for good, with the reason."),
    "versions": ("keep:list_versions", "List every version of answers: rows, dates, cost."),
    "rollback": ("keep:rollback", "Take back the answers of one version."),
    "best-concepts": ("show:best_concepts", "Print the preferred concepts of one passage, or of all."),
    "doctor": ("keep:check", "Check the workspace against itself and the backend."),
    "forget": ("keep:forget_one", "Remove one person everywhere."),
    "backup": ("keep:make_backup", "Copy the whole workspace while other commands run."),
    "restore": ("keep:restore_backup", "Put a backup into a new folder, or into PostgreSQL."),
    "clean": ("keep:clean_up", "Remove old files and builds that nothing needs."),
    "eval": ("search:measure_search", "Measure the search with judged questions."),
    "web": ("serve:serve_page", "Serve the page: see, search, add, rebuild."),
    "emulator": ("serve:serve_engine", "Serve Gemini's protocol from the local engine."),
    "prices": ("prices:list_prices", "List prices and limits of the models, with sources."),
    "settings": ("prices:list_settings", "List every setting, its value, and where it came from."),
}

ALIASES = {  # other names for what the commands above do, of one task behind a colon, which no help lists
    "import-passages": "begin:import_passages",
    "passages-pilot": "asking:try_few",
    "passages-backfill": "asking:ask_all",
    "passages-status": "items:show_status:passages",
    "tag-live": "asking:tag_live",
    "people": "items:main:experts",
    "unpark": "keep:unpark",
}
NAMES = (*COMMANDS, *ALIASES)


def command_of(name: str) -> click.Command:
    """Return a command by its name; its module is imported."""
    module, member, task, *_ = *(ALIASES.get(name) or COMMANDS[name][0]).split(":"), "", ""
    command: click.Command = getattr(importlib.import_module(f"jobs.{module}"), member or "main")
    if task:
        command = copy.copy(command)
        command.name, command.context_settings = name, {"obj": task}
    return command


def variables_of(command: click.Command) -> dict[str, click.Parameter]:
    """Return a command's parameters by the variables that make takes for them."""
    return {one.envvar.removeprefix(PREFIX): one for one in command.params if isinstance(one.envvar, str)}
