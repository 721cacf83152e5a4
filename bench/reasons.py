"""Why figures miss their budgets, and what would be needed; by the key of the figure."""

__all__ = ["REASONS"]

_COLD = (
    "Each object takes three writes, and the API server has the larger part of both cores for them (see the CPU of the "
    "servers, and in the floors what a plain client needs for as many Secrets and statuses, without events). Needed: "
    "no event for an object that is well, which is a third of the writes; less CPU in the process itself; beyond that, "
    "another machine for the API server."
)
_COLD_CPU = (
    "Samples of the stack tell of four parts that take about a seventh each: imports, 1.1 s before anything is done; "
    "the status and the event of each object; its read of Vault, in a thread; Kopf's way from a watch event to its "
    "handler, twice an object, when it is listed and when its status was written. Needed: imports when they are first "
    "used, no event for an object that is well, and for ElileSecrets the watch that Secrets already have, without "
    "Kopf."
)
_RECOVERY = (
    "When the server is back all paths are compared, since nobody knows which of them changed, and by default a server "
    "is asked 500 times a second at most: for 1,000 paths that alone is two seconds. Needed: a higher "
    "spec.limits.requestsPerSecond."
)

REASONS: dict[str, str] = {
    "hints.file.p99": (
        "Kubelet syncs a pod once at a time, which takes it 0.1 to 0.3 s: a change that comes right after another one "
        "of the same pod waits for both. With a hundred changes in twenty pods one or two have such a neighbour. "
        "Nothing in the operator would change that; the Secret itself is as early as ever."
    ),
    "cold.seconds.1000": _COLD,
    "cold.seconds.3000": _COLD,
    "cold.cpu.1000": _COLD_CPU,
    "rest.vault.path": (
        "A poll comes after 95 to 100 % of its interval, drawn anew each time, since the interval is a promise: that "
        "is 2.6 % more than one a minute. Needed: to keep to the interval, and to break the promise by the time of a "
        "read."
    ),
    "rest.vault.listing": (
        "A listing stands for the polls that come due within half an interval after it, so that there are two in an "
        "interval, whatever the number of entries. Needed: a due time of the folder, instead of those of its entries."
    ),
    "rest.cpu.path": (
        "It is the price of 3,000 single reads. Polls of one interval come together, once a second with 17 of them, "
        "which is cheaper than one every 60 ms, see the floors; what is left are the client's layers, the way of each "
        "to a thread and back, and the queue. Needed: one thread that reads a batch, and a client with fewer layers; "
        "or the right to list the folder, with which it is one request."
    ),
    "rss.1000": (
        "The process has 96 MiB when its imports are done, before the first object. Of these 17 are the Kubernetes "
        "client, 13 aiohttp, 16 the drivers of databases, which only rotations need, and 16 the operator's own "
        "modules. Needed: to import drivers when the first rotation comes, and less of the Kubernetes client."
    ),
    "rss.10000": (
        "The process has 96 MiB when its imports are done, see RSS at 1,000 objects; the rest is what the objects "
        "take. Needed: fewer imports."
    ),
    "recovery.60.seconds": _RECOVERY,
    "recovery.180.seconds": _RECOVERY,
    "forwarder.more": (
        "The forwarder parses each line of the audit log, two for a write, on the cores that OpenBao and whoever "
        "writes work on. Needed: a core to spare."
    ),
}
