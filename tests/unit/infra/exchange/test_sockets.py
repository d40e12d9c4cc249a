"""Ping frames, and what becomes of a client that does not answer them."""

from aiohttp import ClientSession, WSMsgType, web

from infra.exchange.sockets import ClientSocket


async def test_a_client_is_pinged_and_cut_when_it_does_not_answer() -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        return await ClientSocket(request, ping_every_s=0.05, pong_within_s=0.4).run(lambda _text: None)

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port, *_ = runner.addresses[0]
        async with ClientSession() as session, session.ws_connect(f"http://{host}:{port}/", autoping=False) as socket:
            for _ in range(16):  # twice as long as the silence that is allowed
                ping = await socket.receive(timeout=30)
                assert ping.type is WSMsgType.PING
                await socket.pong(ping.data)
            message = await socket.receive(timeout=30)
            while message.type is WSMsgType.PING:
                message = await socket.receive(timeout=30)
            assert message.type in {WSMsgType.CLOSED, WSMsgType.ERROR}
    finally:
        await runner.cleanup()
