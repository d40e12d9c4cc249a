"""The operator's faults: `/operator/faults`."""

import msgspec
from aiohttp import web

from infra.exchange.fault_injector import FaultInjector
from infra.exchange.fault_plans import read_plan
from infra.exchange.faults import Fault, FaultError
from infra.exchange.rest import json_response

_BAD_REQUEST = 400


class OperatorFaults:
    """Routes under `/operator/faults`."""

    def __init__(self, injector: FaultInjector) -> None:
        self._injector = injector

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.post("/operator/faults", self._inject),
            web.get("/operator/faults", self._list),
            web.delete("/operator/faults", self._heal),
            web.post("/operator/faults/plan", self._follow),
        ]

    async def _inject(self, request: web.Request) -> web.Response:
        try:
            self._injector.inject(msgspec.json.decode(await request.read(), type=Fault))
        except (FaultError, msgspec.MsgspecError) as error:
            return json_response({"error": str(error)}, status=_BAD_REQUEST)
        return json_response(self._injector.faults.view())

    async def _follow(self, request: web.Request) -> web.Response:
        try:
            planned = self._injector.follow(read_plan(await request.read()))
        except FaultError as error:
            return json_response({"error": str(error)}, status=_BAD_REQUEST)
        return json_response({"planned": planned})

    async def _list(self, _request: web.Request) -> web.Response:
        return json_response(self._injector.faults.view())

    async def _heal(self, _request: web.Request) -> web.Response:
        self._injector.heal()
        return json_response(self._injector.faults.view())
