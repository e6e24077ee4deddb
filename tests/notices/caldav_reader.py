"""`/usr/bin/python3 caldav_reader.py URL`: the events of a calendar as Debian's python3-caldav reads them, as JSON.

It runs outside the environment of the project: the newest caldav of PyPI replaces urllib3.
"""

import json
import sys

import caldav  # type: ignore[import-not-found]

events = []
for event in caldav.DAVClient(sys.argv[1], username="pki", password="pki").calendar(url=sys.argv[1]).events():
    vevent = event.vobject_instance.vevent
    events.append(
        {
            "uid": vevent.uid.value,
            "summary": vevent.summary.value,
            "day": str(vevent.dtstart.value),
            "status": vevent.status.value,
            "sequence": int(vevent.sequence.value),
            "alarms": [alarm.trigger.value.days for alarm in vevent.contents.get("valarm", [])],
        }
    )
print(json.dumps(events))
