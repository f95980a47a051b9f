"""What a backup has to record of an item, so that a restore can say whether it brought the same back."""

from hashlib import sha256


def record(kind, properties, copy):
    return {
        "kind": kind,
        "name": properties.name,
        "version": properties.version,
        "enabled": properties.enabled,
        "created": seconds(properties.created_on),
        "updated": seconds(properties.updated_on),
        "notBefore": seconds(properties.not_before),
        "expires": seconds(properties.expires_on),
        "tags": properties.tags or None,
        "contentType": getattr(properties, "content_type", None),
        "size": len(copy),
        "sha256": sha256(copy).hexdigest(),
    }


def seconds(date):
    return date and int(date.timestamp())


def current(versions):
    """Of all versions the one that was made last: getting a secret would show its value."""
    return max(versions, key=lambda it: it.created_on)


def check(what, wanted, found):
    if found != wanted:
        raise SystemExit(f"{what} of {wanted['kind']}/{wanted['name']} is {found} instead of {wanted}.")
