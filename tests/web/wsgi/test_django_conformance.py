"""Django's decorator and middleware, its REST framework and Ninja under the table of cases, over WSGI and ASGI."""

from __future__ import annotations

from functools import partial

import pytest
from tests.web.conformance import Case, Kind, check, table
from tests.web.wsgi.django_project import OPTIONAL, by_asgi, by_wsgi

WITHOUT = {"websocket": "Django itself has none"}
KINDS = [
    Kind("Django, sync", partial(by_wsgi, prefix="/sync"), without=WITHOUT),
    Kind("Django, async", partial(by_asgi, prefix="/async"), without=WITHOUT),
    Kind("Django, async views over WSGI", partial(by_wsgi, prefix="/async"), without=WITHOUT),
    Kind("Django with middleware, sync", partial(by_wsgi, prefix="/sync", middleware=OPTIONAL), without=WITHOUT),
    Kind("Django with middleware, async", partial(by_asgi, prefix="/async", middleware=OPTIONAL), without=WITHOUT),
    Kind("Django REST framework", partial(by_wsgi, prefix="/drf"), detail=True, without=WITHOUT),
    Kind("Django Ninja, sync", partial(by_wsgi, prefix="/ninja/sync"), without=WITHOUT),
    Kind("Django Ninja, async", partial(by_asgi, prefix="/ninja/async"), without=WITHOUT),
]


@pytest.mark.parametrize(("kind", "case"), table(KINDS))
def test_django_conforms(kind: Kind, case: Case) -> None:
    """It passes every case of the table."""
    check(kind, case)
