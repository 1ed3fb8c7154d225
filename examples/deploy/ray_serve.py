"""The service on a Ray cluster.

    export MIXOPT_STORAGE=postgresql+psycopg://mixopt@db/mixopt
    mixopt token create ann --scope admin
    serve run examples.deploy.ray_serve:app

Needs ``pip install 'mixopt[service,postgres]' 'ray[serve]'``. A client asks for a token always;
Ray's proxy listens on loopback unless told otherwise, and adds no TLS. Replicas share the storage,
so more than one need PostgreSQL.
"""

from __future__ import annotations

import os

from fastapi import FastAPI
from ray import serve

from mixopt.service.application import create_app


def service() -> FastAPI:
    """The service on the storage of ``MIXOPT_STORAGE``."""
    return create_app(os.environ["MIXOPT_STORAGE"], local=False)


@serve.deployment(num_replicas=1)
@serve.ingress(service)
class Mixopt:
    """One replica; its fits run in a process beside it."""


app = Mixopt.bind()
