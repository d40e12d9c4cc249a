"""Servers that repeat what they are asked, with its secrets: an exchange behind a proxy, a mail server, a webhook."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

_KEY_HEADER: Final = "X-MBX-APIKEY"
_REPEATED: Final = ("api/v3/time", "sapi/v1/account/apiRestrictions", "api/v3/account")


class RepeatingExchange:
    """Stands before an exchange, and answers the first requests of a kind with the request itself.

    Attributes:
        address: host:port.
        repeated: How often it has, by path, and by what a WebSocket was answered.
    """

    def __init__(self, url: str) -> None:
        """Prepare.

        Args:
            url: Where the exchange is, as http://host:port.
        """
        self.address = ""
        self.repeated: Counter[str] = Counter()
        self._url = url

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/ws-api/v3", self._open)
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=1)
        async with ClientSession() as self._client:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.address = f"127.0.0.1:{runner.addresses[0][1]}"
                yield
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        path, echo = request.match_info["path"], f"{request.path_qs} {dict(request.headers)}"
        if path in _REPEATED:
            self.repeated[path] += 1
            match self.repeated[path]:
                case 1:
                    return web.Response(text=f"<p>You asked: {echo}</p>", content_type="text/html")
                case 2:
                    return web.Response(status=502, text=echo)
                case 3:
                    return web.json_response({"code": -1100, "msg": f"Illegal characters found: {echo}"}, status=400)
                case 4:
                    return web.Response(text=f"{{{echo}", content_type="application/json")
                case 5:
                    return web.json_response({"serverTime": echo, "balances": echo, "ipRestrict": echo})
        headers = {_KEY_HEADER: request.headers[_KEY_HEADER]} if _KEY_HEADER in request.headers else {}
        async with self._client.get(f"{self._url}{request.path_qs}", headers=headers) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    async def _open(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async with self._client.ws_connect(f"{self._url}{request.path_qs}") as upstream:
            back = asyncio.create_task(_carry(upstream, socket))
            try:
                async for message in socket:
                    if not await self._repeats(socket, message.data):
                        await upstream.send_str(message.data)
            finally:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
        return socket

    async def _repeats(self, socket: web.WebSocketResponse, data: str) -> bool:
        asked: dict[str, Any] = json.loads(data)
        if "apiKey" not in asked.get("params", {}):
            return False
        self.repeated["websocket"] += 1
        match self.repeated["websocket"]:
            case 1:
                error = {"code": -1102, "msg": f"Malformed: {data}"}
                await socket.send_json({"id": asked["id"], "status": 400, "error": error})
            case 2:
                await socket.send_str(f"no JSON: {data}")
                await socket.send_json({"subscriptionId": 0, "event": {"e": data, "E": 1}})
                await socket.close(message=b"try again")
            case _:
                return False
        return True


async def _carry(upstream: ClientWebSocketResponse, socket: web.WebSocketResponse) -> None:
    async for message in upstream:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)


class RepeatingReceivers:
    """A webhook and a mail server that refuse everything, and say what they were told."""

    def __init__(self) -> None:
        self.webhook = ""
        """host:port."""
        self.mail = ""
        self.refused: Counter[str] = Counter()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as exits:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._refuse_webhook)
            runner = web.AppRunner(app, shutdown_timeout=1)
            await runner.setup()
            exits.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.webhook = f"127.0.0.1:{runner.addresses[0][1]}"
            server = await asyncio.start_server(self._refuse_mail, "127.0.0.1", 0)
            exits.callback(server.close)
            self.mail = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield

    async def _refuse_webhook(self, request: web.Request) -> web.Response:
        self.refused["webhook"] += 1
        return web.Response(status=400, reason=f"Cannot POST {request.path}", text=f"{request.url} {request.headers}")

    async def _refuse_mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example\r\n")
        while line := await reader.readline():
            verb, *words = line.decode(errors="replace").split()
            match verb.upper():
                case "EHLO":
                    writer.write(b"250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n")
                case "AUTH":
                    self.refused["mail"] += 1
                    told = (
                        base64.b64decode(words[-1] + "==", validate=False).decode(errors="replace").replace("\0", " ")
                    )
                    writer.write(f"535 5.7.8 {' '.join(words)} is {told}\r\n".encode())
                case "QUIT":
                    break
                case _:
                    writer.write(f"535 5.7.8 {line.decode(errors='replace').strip()}\r\n".encode())
            await writer.drain()
        writer.close()
