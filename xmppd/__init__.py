"""The stream service, and the settings and commands that put Hearth together."""

__version__ = "0.1.0"
