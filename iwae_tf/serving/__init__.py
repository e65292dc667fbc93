"""A server of exported SavedModels with the REST API of TensorFlow Serving. Needs the extra `serve`."""

try:
    import uvicorn  # noqa: F401, which the server imports later

    from iwae_tf.serving.application import make_application
except ImportError as error:  # pragma: no cover
    raise ImportError(f"Expected the extra serve: pip install 'iwae-tf[serve]'. Received: {error}") from error

__all__ = ["make_application"]
