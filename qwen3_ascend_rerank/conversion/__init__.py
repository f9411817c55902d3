"""Conversion: an original checkpoint, and an adapter, become one for sequence classification."""

from .adapter import Adapter, open_adapter
from .convert import Converted, convert

__all__ = ["Adapter", "Converted", "convert", "open_adapter"]
