"""``lpnsr serve``: the queue of ``lpnsr.apps.jobs`` over HTTP. Needs the extra ``serve``.

create_app(engine) -> FastAPI          serve(engine, host, port)
"""
