"""``lpnsr web``: the queue of ``lpnsr.apps.jobs`` as a page for people. Needs the extra ``web``.

    page (Gradio)  <-  Desk: what its handlers share  <-  Fleet: one queue a device
    Guard: the only way in; passwords, sizes, paths, and nothing from other hosts

create_app(desk, login=...) -> Guard          serve(desk, host=..., port=..., login=...)

Jobs of a visitor are known by the session of their tab; files of theirs have names that nobody can guess.
"""
