"""Plan the two requests of decisions: those about closed fields, and those about the other fields.

- A decision model answers a closed field, which has a fixed choice, with probabilities.
- A mixed task has closed fields and others. A generating model is asked about the others.
"""

from dataclasses import replace

from pipeline.batch import budget
from pipeline.batch.batch_plan import BatchPlan
from pipeline.engine import closed_questions
from pipeline.engine.request_builder import RequestBuilder
from pipeline.engine.session import WorkspaceSession
from pipeline.gemini.usage import Usage


def plan_decisions(ws: WorkspaceSession, decide_ws: WorkspaceSession, plan: BatchPlan) -> BatchPlan:
    """Return the plan of asking a decision model about the closed fields of a plan's rows.

    A closed field has fixed choices. Requests whose closed fields a decision model has answered
    already are left out. There are no control requests, which show if a batch has confused its
    replies, because decisions are live calls. The prompt tokens of each row are those of the plan,
    plus those of the questions about the closed fields. The measured tokens of past decisions
    correct the sum.

    Args:
        ws: The session of the task, which has its closed fields and the database.
        decide_ws: The same session with the decision model.
        plan: The plan of asking about all fields of the rows.
    """
    lines = closed_questions.QuestionLines(ws.task, decide_ws.model)
    calibration = ws.store.query(budget.load_calibration, decide_ws.version)
    request_count = plan.requests - plan.decided_requests
    prompt_tokens = request_count * lines.question_tokens
    if plan.requests:
        prompt_tokens += plan.counted_prompt_tokens * request_count // plan.requests
    usage = calibration.applied(Usage(prompt=prompt_tokens), count=request_count)
    return replace(
        plan,
        requests=request_count,
        decided_requests=0,
        usage=usage,
        control_requests=0,
        control_cost=0.0,
    )


def plan_other_fields(
    ws: WorkspaceSession,
    plan: BatchPlan,
    calibration: budget.Calibration,
    *,
    request_count: int,
) -> BatchPlan:
    """Return a plan whose requests leave out the closed fields of a mixed task.

    Measured tokens of past requests are not changed, because these may have left them out, too.

    Args:
        plan: The plan of requests about all fields.
        calibration: The measured tokens that the plan uses.
        request_count: The requests that have the closed fields now.
    """
    if calibration.answer is not None:
        return plan
    saved_usage = RequestBuilder(ws.task, ws.model).closed_field_usage
    usage = plan.usage._replace(
        prompt=max(0, plan.usage.prompt - request_count * saved_usage.prompt),
        answer=max(0, plan.usage.answer - request_count * saved_usage.answer),
    )
    return replace(plan, usage=usage)
