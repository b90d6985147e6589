"""Every byte that this package sends: which addresses may be called, and the pooled clients that call them."""

from routeiq_plugin.outbound.clients import ANSWERED, Clients
from routeiq_plugin.outbound.failures import backend_error, is_lost
from routeiq_plugin.outbound.guard import Guard
from routeiq_plugin.outbound.watched import Watch

__all__ = ["ANSWERED", "Clients", "Guard", "Watch", "backend_error", "is_lost"]
