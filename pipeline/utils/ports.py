"""Ports of this machine."""

import socket

from pipeline.errors import UserError

LOCAL = "127.0.0.1"


def checked(port: str, advice: str) -> int:
    """The number of a port at which a server can listen on this machine.

    Raises:
        UserError: it is no number, or none can. `advice` is a command with another port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((LOCAL, int(port)))
        except ValueError:
            raise UserError(f"PORT: {port}: not a number") from None
        except (OSError, OverflowError) as error:
            raise UserError(f"port {port}: {error}; name another one: {advice}") from None
    return int(port)
