"""Addresses as people write them, checked and made exact before a socket sees them.

libzmq accepts an unknown host silently and takes an ipc path away from whoever is bound to it; so names are looked up
and paths are tried here. What a person did wrong becomes one sentence that says what to do.

    "tcp://localhost:5555"  -> "tcp://127.0.0.1:5555"      (host looked up, once)
    "tcp://[::1]:0"         -> itself, to be bound only    (any free port)
    "ipc:///run/n1"         -> itself                      (announcements beside it: /run/n1.all)
    "tcp://n1"              -> AddressError: ... has no port: write tcp://host:port

Invariant: what comes out needs no further lookup, so neither bind nor connect can wait for a name server.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

import zmq

IPC_PATH_BYTES_MAX = 100
PORT_MAX = 65535


class AddressError(ValueError):
    """An address that cannot be used, in one sentence for the person who wrote it."""


def exact(address: str, *, bind: bool) -> str:
    """The address with its host looked up. Port 0 and host * are for binding only."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme == "tcp":
        host, port = _host_and_port(address, rest, bind)
        return f"tcp://{_numeric(host, address, bind)}:{port}"
    if separator and scheme == "ipc":
        path = rest.encode()
        if not 0 < len(path) <= IPC_PATH_BYTES_MAX or b"\0" in path:
            raise AddressError(f"{address} needs a path of 1 to {IPC_PATH_BYTES_MAX} bytes: write ipc:///run/name")
        return address
    raise AddressError(f"{address!r} is no address: write tcp://host:port or ipc://path")


def beside(address: str) -> list[str]:
    """Where announcements may be bound for requests bound at `address`, the best first."""
    if address.startswith("ipc://"):
        return [f"{address}.all"]
    host, _, port = address.rpartition(":")
    neighbour = int(port) + 1
    return [f"{host}:{neighbour}", f"{host}:0"] if 1 < neighbour <= PORT_MAX else [f"{host}:0"]


def bound(zsocket: zmq.Socket[bytes], address: str) -> str:
    """Bind to an exact address; the address that resulted, with its true port."""
    if address.startswith("ipc://"):
        _refuse_if_alive(address)
    speak_ipv6_for(zsocket, address)
    try:
        zsocket.bind(address)
    except zmq.ZMQError as error:
        raise AddressError(_why_not(address, error)) from None
    return zsocket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


def advertised(told: str, bound_at: str, *, own_port: bool = False) -> str:
    """What others are told of a socket bound at `bound_at`: the host of `told`, and its port unless that is 0.

    `own_port`: the bound one in any case, as for announcements, whose port is another. Raises AddressError.

    >>> advertised("tcp://192.0.2.7:4100", "tcp://0.0.0.0:4101", own_port=True)
    'tcp://192.0.2.7:4101'
    """
    scheme, separator, rest = told.partition("://")
    if not separator or scheme != "tcp" or not bound_at.startswith("tcp://"):
        raise AddressError(f"{told!r} cannot be advertised: write tcp://host:port, for an agent bound to tcp")
    host, port = _host_and_port(told, rest, bind=True)
    if host in ("*", "0.0.0.0", "[::]"):
        raise AddressError(f"{told} cannot be advertised: name the host by which others reach this node")
    if own_port or port == 0:
        port = int(bound_at.rpartition(":")[2])
    return f"tcp://{host}:{port}"


def speak_ipv6_for(zsocket: zmq.Socket[bytes], address: str) -> None:
    """Both families for IPv6 and wildcards; with it on, libzmq would report 127.0.0.1 as [::ffff:127.0.0.1]."""
    zsocket.setsockopt(zmq.IPV6, int("[" in address or "*" in address))


def _why_not(address: str, error: zmq.ZMQError) -> str:
    match error.errno:
        case zmq.EADDRINUSE:
            return f"{address} is in use: choose another port, or port 0 for any that is free"
        case zmq.EADDRNOTAVAIL | errno.ENODEV:
            return f"this machine has no such address as {address}: bind one of its own, or tcp://*:0 for all"
        case errno.EACCES | errno.EPERM:
            return f"this user may not bind {address}: choose a port above 1023, or a path that is writable"
        case errno.ENOENT:
            return f"{address} lies in a folder that is not there: make it, or choose another path"
    return f"{address} cannot be bound ({error.strerror}): choose another address"


def _host_and_port(address: str, rest: str, bind: bool) -> tuple[str, int]:
    host, colon, port = rest.rpartition(":")
    if not colon or not host or host.endswith(":") or (":" in host and not host.startswith("[")):
        raise AddressError(f"{address} has no host and port: write tcp://host:port, an IPv6 host in brackets")
    if not (port.isascii() and port.isdigit()) or not (0 if bind else 1) <= int(port) <= PORT_MAX:
        raise AddressError(f"{address} ends in no usable port: give a number from 1 to {PORT_MAX}")
    return host, int(port)


def _numeric(host: str, address: str, bind: bool) -> str:
    if host == "*" and bind:
        return host
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        return host
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressError(f"no host named {host!r} is known: check the spelling of {address}") from None
    number = str(found[0][4][0])
    return f"[{number}]" if ":" in number else number


def _refuse_if_alive(address: str) -> None:
    path = address.removeprefix("ipc://")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect("\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            return
    raise AddressError(f"{address} is in use: choose another path")
