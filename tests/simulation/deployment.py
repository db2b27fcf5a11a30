"""The numbers of the real deployment, from template.yaml and the delivering function."""

from __future__ import annotations

from linkrunner_webhooks import deliver_function
from linkrunner_webhooks_local import template
from linkrunner_webhooks_local.project import TEMPLATE

_RESOURCES = template.load(TEMPLATE)["Resources"]
_QUEUE = _RESOURCES["WebhookQueue"]["Properties"]
_FUNCTION = _RESOURCES["DeliverFunction"]["Properties"]
_SOURCE = _FUNCTION["Events"]["Queue"]["Properties"]

# Seconds.
VISIBILITY = float(_QUEUE["VisibilityTimeout"])
RETENTION = float(_QUEUE["MessageRetentionPeriod"])
TIMEOUT = float(_FUNCTION["Timeout"])

MOST_RECEIVES = int(_QUEUE["RedrivePolicy"]["maxReceiveCount"])
BATCH = int(_SOURCE["BatchSize"])
COPIES = int(_SOURCE["ScalingConfig"]["MaximumConcurrency"])

# Private to the function; a deliverer built anew of the same parts takes them from here.
HEADROOM = deliver_function.HEADROOM
message_of = deliver_function.message_of
