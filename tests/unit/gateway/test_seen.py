"""What a gateway says of itself, in front of a fake engine: status, metrics, health, the log."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp

from runner.base.loaded import Loaded
from runner.engine.process.servers import Served
from runner.gateway.activity import Entry
from runner.gateway.admission import Rules
from runner.gateway.clients.listener import listening
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.relay import Relay
from runner.gateway.refusal import Api
from runner.gateway.service import Service
from runner.gateway.settings import Settings
from runner.gateway.watching.account import Account
from runner.gateway.watching.request_log import RequestLog
from runner.gateway.watching.status import Slot, matched
from tests.fakes.slots_engine import SlotsEngine, listening_engine
from tests.unit.gateway.test_account import OPENAI_STREAM

SERVED = Served(engine="embedded", weights_bytes=1000, total_bytes=7, limit_bytes=9)
JSON = {"Content-Type": "application/json"}
BODY = {"messages": [{"role": "user", "content": "a secret"}], "stream": True}


class Kept(list[Account]):
    """A log that keeps its accounts in memory."""

    def write(self, account: Account) -> None:
        self.append(account)


@asynccontextmanager
async def gateway(engine: SlotsEngine, keys: dict[str, str] | None = None) -> AsyncIterator[Any]:
    """Run a gateway before a fake engine; yields a client of it, and its log."""
    relay = Relay()
    settings = Settings(port=0, model="tiny", quant="Q8_0", context=4096, parallel=2, served=SERVED)
    service = Service(settings, Rules(keys or {}), cast("Keeper", engine), relay)
    service.observer.log = cast("RequestLog", log := Kept())
    engine.status_of_gateway = service.observer.status
    async with listening(service) as port:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(url, headers={"User-Agent": "OpenAI/Python 2.8"}) as http:
            yield http, log
    await service.observer.status.close()
    await relay.close()


async def read(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as reply:
        return await reply.json()


async def test_each_request_has_a_line_also_those_refused() -> None:
    async with listening_engine(answers=OPENAI_STREAM) as engine, gateway(engine) as (http, log):
        async with http.post("/v1/chat/completions", json=BODY) as reply:
            assert await reply.read() == b"".join(OPENAI_STREAM)
        await http.post("/v1/chat/completions", data=b"{", headers=JSON)
        await http.get("/no-such?api_key=hidden")
        await http.get("/health")
        await http.get("/metrics")
    assert [(line.path, line.status) for line in log] == [
        ("/v1/chat/completions", 200),
        ("/v1/chat/completions", 400),
        ("", 404),
    ]
    assert (log[0].client, log[0].prompt_tokens, log[0].tokens) == ("openai-python", 27, 13)
    assert "secret" not in str(list(log))
    assert "hidden" not in str(list(log))


async def test_the_client_is_the_name_of_its_key() -> None:
    keys = {"laptop": "k" * 40}
    async with (
        listening_engine(answers=OPENAI_STREAM) as engine,
        gateway(engine, keys) as (http, log),
    ):
        key = {"Authorization": "Bearer " + "k" * 40}
        for headers in (key, {}):
            await http.post("/v1/chat/completions", json=BODY, headers=headers)
        for path in ("/steprun/status", "/metrics"):
            async with http.get(path) as reply:
                assert reply.status == 401
            async with http.get(path, headers=key) as reply:
                assert reply.status == 200
    assert [(line.client, line.status) for line in log] == [
        ("laptop", 200),
        *[("openai-python", 401)] * 3,
    ]


async def test_status_shows_what_is_read_and_written_and_for_whom(tmp_path: Path) -> None:
    engine_log = tmp_path / "engine.log"
    engine_log.write_text(
        "0.03 I slot operator(): id 0 | task 7 | new prompt, n_ctx_slot = 4096, n_keep = 0, "
        "task.n_tokens = 2000\n"
    )
    reading = {
        "id": 0,
        "id_task": 7,
        "is_processing": True,
        "n_prompt_tokens": 512,
        "n_prompt_tokens_processed": 500,
        "n_prompt_tokens_cache": 12,
        "next_token": [{"n_decoded": 0}],
        "params": {},
    }
    idle = {"id": 1, "is_processing": False}
    pause = asyncio.Event()
    async with (
        listening_engine(
            slots=[reading, idle], answers=[b": \n\n", *OPENAI_STREAM], pause=pause
        ) as engine,
        gateway(engine) as (http, _),
    ):
        engine.log_path = engine_log
        before = await read(http, "/steprun/status")
        assert (before["state"], before["slots"][0]["state"]) == ("ready", "idle")
        assert len(before["slots"]) == 2
        assert engine.asked == 0, "an idle engine is asked nothing"
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
        await asyncio.sleep(0.2)
        status = await read(http, "/steprun/status")
        row = status["slots"][0]
        assert (status["state"], status["waiting"], status["context"]) == ("busy", 0, 4096)
        assert (status["memory_bytes"], status["limit_bytes"]) == (7, 9)
        assert (row["client"], row["state"]) == ("openai-python", "reading")
        assert (row["prompt_tokens"], row["read_tokens"], row["cached_tokens"]) == (2000, 500, 12)
        assert row["restored_tokens"] == 0
        assert (row["saved_s"], row["reread_because"]) == (None, None)
        assert row["tokens_per_s"] > 0
        await read(http, "/steprun/status")
        assert engine.asked == 1, "asked at most twice a second"
        writing = {**reading, "n_prompt_tokens_processed": 1988, "next_token": [{"n_decoded": 40}]}
        engine.slots = [writing]
        await asyncio.sleep(0.6)
        row = (await read(http, "/steprun/status"))["slots"][0]
        assert (row["state"], row["prompt_tokens"], row["written_tokens"]) == ("writing", 2000, 40)
        pause.set()
        await (await asking).read()
        assert (await read(http, "/steprun/status"))["state"] == "ready"


async def test_a_hung_engine_delays_status_and_health_by_a_moment_only() -> None:
    pause = asyncio.Event()
    async with (
        listening_engine(slots=None, answers=[b": \n\n", b""], pause=pause) as engine,
        gateway(engine) as (http, _),
    ):
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        for _ in range(3):
            row = (await read(http, "/steprun/status"))["slots"][0]
            assert (row["state"], row["read_tokens"]) == ("reading", None)
        assert time.monotonic() - began < 5
        assert engine.asked == 1, "one question at a time"
        pause.set()
        await (await asking).read()


async def test_health_says_how_far_the_model_is_loaded() -> None:
    loaded = Loaded(42 << 30, 100 << 30)
    async with (
        listening_engine(state="loading", waited_s=3.21, loaded=loaded) as engine,
        gateway(engine) as (http, _),
    ):
        async with http.get("/health") as reply:
            assert reply.status == 503
            assert await reply.json() == {
                "status": "loading",
                "state": "loading",
                "model": "tiny",
                "loading_s": 3.2,
                "loaded_percent": 42,
            }
        status = await read(http, "/steprun/status")
        assert (status["state"], status["slots"], status["loaded_percent"]) == (
            "loading",
            [],
            42,
        )


async def test_a_server_that_stops_is_not_healthy() -> None:
    async with listening_engine() as engine, gateway(engine) as (http, _):
        assert (await read(http, "/health"))["status"] == "ok"
        engine.status_of_gateway.stopping = True
        async with http.get("/health") as reply:
            assert (reply.status, (await reply.json())["status"]) == (503, "stopping")
        assert (await read(http, "/steprun/status"))["state"] == "stopping"
        async with http.get("/metrics") as reply:
            assert 'steprun_state{state="stopping"} 1' in await reply.text()


async def test_metrics_can_be_read_by_prometheus() -> None:
    async with (
        listening_engine(answers=OPENAI_STREAM, restarts=2) as engine,
        gateway(engine) as (http, _),
    ):
        for body in (b"{", json.dumps(BODY).encode(), json.dumps(BODY).encode()):
            await (await http.post("/v1/chat/completions", data=body, headers=JSON)).read()
        async with http.get("/metrics") as reply:
            text = await reply.text()
            assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['steprun_requests_total{api="openai",status="200"}'] == "2"
    assert values['steprun_requests_total{api="openai",status="400"}'] == "1"
    assert values["steprun_prompt_tokens_total"] == "54"
    assert values["steprun_cached_tokens_total"] == "44"
    assert values["steprun_generated_tokens_total"] == "26"
    assert values["steprun_engine_restarts_total"] == "2"
    assert values['steprun_first_token_seconds_bucket{le="+Inf"}'] == "2"
    assert values["steprun_first_token_seconds_count"] == "2"
    assert values['steprun_state{state="ready"}'] == "1"
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {name.split("{")[0].removesuffix("_bucket") for name in values} - named == {
        f"steprun_{kind}_seconds_{part}"
        for kind in ("first_token", "wait", "request")
        for part in ("sum", "count")
    }


TEXT = "".join(f"Line {number} of a long system prompt.\n" for number in range(200))
COLD = {"cache_n": 0, "prompt_n": 2000, "prompt_ms": 4000.0, "predicted_n": 3}
WARM = {"cache_n": 1950, "prompt_n": 50, "prompt_ms": 100.0, "predicted_n": 3}


def whole(timings: dict[str, float]) -> bytes:
    return json.dumps({"choices": [], "timings": timings}).encode()


async def test_what_the_cache_saved_and_why_it_did_not_is_said_everywhere() -> None:
    async def ask(system: str) -> dict[str, str]:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": "Hi"}]
        async with http.post("/v1/chat/completions", json={"messages": messages}) as reply:
            await reply.read()
            return {k: v for k, v in reply.headers.items() if k.startswith("x-steprun")}

    async with (
        listening_engine(answers=[whole(COLD)], content_type="application/json") as engine,
        gateway(engine) as (http, log),
    ):
        assert await ask(TEXT) == {}
        engine.answers = [whole(WARM)]
        assert await ask(TEXT) == {"x-steprun-read-rate": "500.0"}
        engine.answers = [whole(COLD)]
        why = "the system prompt changed at its first line"
        assert await ask(f"Today\n{TEXT}") == {
            "x-steprun-read-rate": "500.0",
            "x-steprun-reread": why,
        }
        status = await read(http, "/steprun/status")
        async with http.get("/metrics") as reply:
            metrics = (await reply.text()).splitlines()
    assert [account.saved_s for account in log] == [0, 3.9, 0]
    assert [account.reread_because for account in log] == [None, None, why]
    assert status["saved_s"] == 3.9
    assert {"steprun_rereads_total 1", "steprun_saved_seconds_total 3.9"} <= set(metrics)
    assert "steprun_restored_tokens_total 0" in metrics


def test_slots_and_requests_are_matched_in_the_order_they_began() -> None:
    entries = [Entry(n, "", Api.OPENAI, "", 0.0) for n in (4, 5)]
    slots = tuple(Slot(id_task=n) for n in (10, 20, 30))
    assert {n: s.id_task for n, s in matched(entries, slots).items()} == {4: 20, 5: 30}
    assert {n: s.id_task for n, s in matched(entries, slots[:1]).items()} == {4: 10}
    assert matched([], slots) == {}
