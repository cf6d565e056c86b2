"""The HTTP service, with the routes predict, explain, health and metrics for the model in use."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import protoquant
from protoquant.core.errors import suggest
from protoquant.data.quarantine import ImageError
from protoquant.serving.batcher import Batcher, Outcome, decode
from protoquant.serving.config import ServeConfig
from protoquant.serving.http.access import Access
from protoquant.serving.http.admission import Admission
from protoquant.serving.http.metrics import Metrics
from protoquant.serving.http.payload import asked
from protoquant.serving.http.record import RequestMiddleware, RequestRecord, account
from protoquant.serving.http.refusal import RefusedError
from protoquant.serving.versions import Served, Versions

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "byte"}},
                        "top": {"type": "integer", "minimum": 0},
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class Service:
    """The parts that the routes share.

    Args:
        versions: The model in use.
        config: Limits.
        workers: Threads that decode, and threads that compute.
    """

    def __init__(self, versions: Versions, config: ServeConfig, *, workers: int):
        self.versions = versions
        self.config = config
        self.metrics = Metrics()
        self.batcher = Batcher(config, workers=workers, on_batch=self.metrics.batch)
        self.artist = ThreadPoolExecutor(1, thread_name_prefix="draw")  # matplotlib is not thread-safe
        versions.on_change = self._changed
        versions.on_failure = lambda: self.metrics.reload("failed")
        if served := versions.current():
            self.metrics.model(served)

    def served(self) -> Served:
        """The model in use.

        Raises:
            RefusedError: No model is loaded yet.
        """
        served = self.versions.current()
        if served is None:
            raise RefusedError(503, "loading", "the model is not loaded yet; try again", {"Retry-After": "1"})
        return served

    def close(self) -> None:
        """End every thread."""
        self.versions.stop()
        self.artist.shutdown(wait=True, cancel_futures=True)
        self.batcher.close()

    def _changed(self, served: Served) -> None:
        self.metrics.model(served)
        self.metrics.reload("done")

    async def predict(self, request: Request) -> Response:
        """Classify the images of a request."""
        known, served = account(request.scope), self.served()
        known.served = served
        wanted = await asked(request, self.config)
        known.images = len(wanted.images)
        outcomes = await self.batcher.ask(served, wanted.images, wanted.top)
        if len(outcomes) == 1 and isinstance(outcomes[0], ImageError):
            raise _unusable(outcomes[0])
        return JSONResponse({"model": served.to_dict(), "answers": [_entry(one, known) for one in outcomes]})

    async def explain(self, request: Request) -> Response:
        """Explain the answer for one image, as JSON or as a picture."""
        known, served = account(request.scope), self.served()
        known.served = served
        label = _label(request.query_params.get("class"), served)
        wanted = await asked(request, self.config)
        known.images = len(wanted.images)
        if len(wanted.images) != 1:
            raise RefusedError(422, "bad_request", f"explain takes one image, got {len(wanted.images)}")
        (data,) = wanted.images
        if "image/png" in request.headers.get("accept", ""):
            png = await self._in_turn(_picture, served, data, label, self.config)
            return Response(png, media_type="image/png")
        (outcome,) = await self.batcher.ask(served, wanted.images, served.model.bundle.codebook.k)
        if isinstance(outcome, ImageError):
            raise _unusable(outcome)
        found = {"model": served.to_dict(), "answer": _entry(outcome, known)}
        if label is not None:
            found["class"] = await self._in_turn(_account, served, data, label)
        return JSONResponse(found)

    async def _in_turn(self, work: Any, *arguments: Any) -> Any:
        """Run work in the single drawing thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.artist, work, *arguments)
        except ImageError as error:
            raise _unusable(error) from None


def create_app(versions: Versions, config: ServeConfig, *, workers: int = 1) -> FastAPI:
    """Make the service.

    Args:
        versions: The model in use; the service answers 503 until it is loaded.
        config: Limits.
        workers: Threads that decode, and threads that compute.

    Returns:
        An ASGI application; its lifespan starts and ends the thread that follows the alias.
    """
    service = Service(versions, config, workers=workers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        versions.start()
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(title="ProtoQuant", version=protoquant.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service

    @app.post("/predict", openapi_extra=_BODY)
    async def predict(request: Request) -> Response:
        """Class, probability and evidence of one or many images."""
        return await service.predict(request)

    @app.post("/explain", openapi_extra=_BODY)
    async def explain(request: Request) -> Response:
        """All evidence for one image, as JSON or, with ``Accept: image/png``, as a picture."""
        return await service.explain(request)

    @app.get("/health")
    async def health(request: Request) -> Response:
        """Whether the service answers; with which model and how much waits, to who has the token if there is one."""
        served = service.served()
        if account(request.scope).stranger:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "ok", "model": served.to_dict(), "waiting": service.batcher.waiting()})

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    app.add_exception_handler(HTTPException, _no_such)
    app.add_middleware(_watched, service=service)
    app.add_middleware(Access, config=config)
    app.add_middleware(RequestMiddleware, metrics=service.metrics, current=versions.current)
    return app


def _watched(app: Any, service: Service) -> Admission:
    """Make the admission middleware and let the metrics read its count."""
    admission = Admission(app, service.config)
    service.metrics.watch(service.batcher.waiting, admission.at_work)
    return admission


async def _no_such(_: Request, error: Exception) -> Response:
    """Refuse paths and methods that do not exist."""
    status = getattr(error, "status_code", 404)
    raise RefusedError(status, "no_such_path", "there are POST /predict, POST /explain, GET /health and GET /metrics")


def _entry(outcome: Outcome, known: RequestRecord) -> dict[str, Any]:
    if isinstance(outcome, ImageError):
        known.kinds[outcome.reason.value] += 1
        return {"error": str(outcome), "kind": outcome.reason.value}
    known.abstained += outcome.abstains
    return outcome.to_dict()


def _unusable(error: ImageError) -> RefusedError:
    return RefusedError(422, error.reason.value, str(error))


def _label(name: str | None, served: Served) -> int | None:
    classes = served.model.classes
    if name is None:
        return None
    if name not in classes:
        raise RefusedError(422, "no_such_class", f"the model knows no class {name[:60]!r}{suggest(name[:60], classes)}")
    return classes.index(name)


def _picture(served: Served, data: bytes, label: int | None, config: ServeConfig) -> bytes:
    from protoquant.explain.draw import explanation_figure

    image, _ = decode(served, data, "the file", config)
    held = io.BytesIO()
    explanation_figure(served.model.explain(data, label), image).save(held, format="png")
    return held.getvalue()


def _account(served: Served, data: bytes, label: int) -> dict[str, Any]:
    """The evidence for a class, in the form of an answer."""
    (answer,) = served.model.answer([data], served.model.bundle.codebook.k, label)
    return {key: value for key, value in answer.to_dict().items() if key != "abstains"}
