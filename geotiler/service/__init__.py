"""Serving the tasks over HTTP: FastAPI, uvicorn, jobs and metrics."""
