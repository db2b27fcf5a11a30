"""Serves ministack on an inherited socket until whoever started it is gone.

A program for ministack's own interpreter, never imported by ours. ministack's command cannot take
a socket and outlives its parent; this one gets a port nobody else can take meanwhile, and its
standard input ends with the parent, however that dies.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading


def _exit_with_parent() -> None:
    # Not through sys.stdin, whose lock a thread must not hold while the interpreter ends.
    while os.read(0, 1024):
        pass
    # Nothing here is worth an orderly end: the state is in memory and meant to be lost.
    os._exit(0)


def _serve(descriptor: int) -> None:
    # Only now: loading it all takes a while, in which the parent may go.
    # ruff: noqa: PLC0415
    from hypercorn.asyncio import serve  # type: ignore[import-not-found]
    from hypercorn.config import Config  # type: ignore[import-not-found]
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = 75
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _serve(int(sys.argv[1]))
