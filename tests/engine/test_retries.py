"""What AWS answers with "slow down", "busy" or an error of its own: which calls are made again, and how often."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from emflow.engine.clients import Clients
from emflow.workflow.model import Aws
from engine.things import error

pytestmark = pytest.mark.usefixtures("nobody")


def test_a_throttled_call_is_tried_again(endpoint, pauses):
    clients = Clients(Aws())
    clients("iam")
    endpoint.answers += [(400, error("Throttling", "slow down"))] * 2
    endpoint.answers.append((200, "<ListRolesResponse><ListRolesResult><Roles/></ListRolesResult></ListRolesResponse>"))
    assert clients("iam").list_roles()["Roles"] == []
    assert len(pauses) == 2


ROLES = "<ListRolesResponse><ListRolesResult><Roles/></ListRolesResult></ListRolesResponse>"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_tried_again(endpoint, pauses, status):
    clients = Clients(Aws())
    clients("iam")
    endpoint.answers += [(status, error("ServiceFailure", "sorry"))] * 3 + [(200, ROLES)]
    assert clients("iam").list_roles()["Roles"] == []
    assert len(pauses) == 3


def test_a_thing_that_is_busy_with_another_change_is_tried_again(endpoint, pauses):
    clients = Clients(Aws())
    clients("iam")
    endpoint.answers += [(409, error("ConcurrentModification", "busy"))] * 3 + [(200, ROLES)]
    assert clients("iam").list_roles()["Roles"] == []
    assert len(pauses) == 3


@pytest.mark.parametrize(
    ("status", "code"), [(400, "Throttling"), (503, "ServiceUnavailable"), (409, "ConcurrentModification")]
)
def test_after_eight_tries_with_growing_random_pauses_it_is_reported(endpoint, pauses, status, code):
    clients = Clients(Aws())
    clients("iam")
    before = len(endpoint.seen)
    endpoint.answers += [(status, error(code, "not now"))] * 20
    with pytest.raises(ClientError, match="not now"):
        clients("iam").list_roles()
    assert len(endpoint.seen) - before == 8
    assert len(set(pauses)) == 7
    assert max(pauses[4:]) > max(pauses[:2])
    assert all(pause <= 20 for pause in pauses)


def test_when_everything_is_throttled_the_budget_of_retries_ends_them_soon(endpoint, pauses):
    clients = Clients(Aws())
    iam, before, calls = clients("iam"), len(endpoint.seen), 60
    endpoint.answers += [(400, error("Throttling", "slow down"))] * calls * 8
    for _ in range(calls):
        with pytest.raises(ClientError, match="slow down"):
            iam.list_roles()
    assert len(endpoint.seen) - before <= calls + 100  # without a budget it would be 480


def test_what_is_wrong_for_good_is_not_tried_again(endpoint, pauses):
    clients = Clients(Aws())
    clients("iam")
    before = len(endpoint.seen)
    endpoint.answers.append((409, error("EntityAlreadyExists", "is there")))
    with pytest.raises(ClientError, match="is there"):
        clients("iam").list_roles()
    assert len(endpoint.seen) - before == 1


def test_a_throttled_first_question_is_asked_with_patience(endpoint, pauses):
    endpoint.answers += [(400, error("Throttling", "slow down"))] * 5
    assert Clients(Aws()).account == "123456789012"
