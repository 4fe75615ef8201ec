import base64
import datetime as dt
import http.client
import json
import threading

import pytest
import requests
import standardwebhooks
from alerts_kit import until

from bt_alerts.alert import Alert
from bt_alerts.demo.receiver import MAX_BODY, Receiver
from bt_alerts.dispatchers.webhook import WebhookDispatcher

SECRET = "whsec_" + base64.b64encode(b"the demo's secret, 32 bytes long").decode()
OTHER = "whsec_" + base64.b64encode(b"some other secret, 32 bytes long").decode()
BODY = json.dumps({"type": "alert.custom", "timestamp": "2026-03-02T15:30:00Z", "data": {"title": "Hello"}})


def post(url, body=BODY, secret=SECRET, key="msg_1", age=0):
    """A request as the reference library signs it."""
    when = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)
    headers = {
        "webhook-id": key,
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": standardwebhooks.Webhook(secret).sign(key, when, body),
    }
    return requests.post(url, data=body.encode(), headers=headers, timeout=5).status_code


def test_it_takes_what_the_dispatcher_sends():
    alert = Alert.make("AAPL filled", title="BUY AAPL", symbol="AAPL", data={"price": 150.5})
    with Receiver(SECRET) as receiver:
        dispatcher = WebhookDispatcher(urls=receiver.url, secret=SECRET)
        assert dispatcher.send(alert)
        dispatcher.close()
    (delivery,) = receiver.received
    assert delivery.genuine
    assert delivery.event == "alert.custom"
    assert delivery.alert["id"] == alert.id
    assert delivery.alert["data"] == {"price": 150.5}
    assert delivery.webhook_id.startswith("msg_")
    assert abs(dt.datetime.now(dt.UTC) - delivery.received) < dt.timedelta(minutes=1)


def test_it_answers_a_connection_test():
    with Receiver(SECRET) as receiver:
        assert WebhookDispatcher(urls=receiver.url, secret=SECRET).test_connection()
        assert not WebhookDispatcher(urls=receiver.url, secret=OTHER).test_connection()
    assert [(delivery.event, delivery.genuine) for delivery in receiver.received] == [
        ("bt_alerts.check", True),
        ("bt_alerts.check", False),
    ]


def test_it_tells_whether_a_signature_holds():
    with Receiver(SECRET) as receiver:
        assert post(receiver.url) == 204
        assert post(receiver.url, secret=OTHER) == 401
        assert post(receiver.url, age=3600) == 401
        assert requests.post(receiver.url, data=BODY, timeout=5).status_code == 401
    assert [delivery.genuine for delivery in receiver.received] == [True, False, False, False]
    assert receiver.received[0].alert == {"title": "Hello"}


def test_a_repeat_has_the_same_id():
    with Receiver(SECRET) as receiver:
        for key in ("msg_1", "msg_1", "msg_2"):
            post(receiver.url, key=key)
    assert [delivery.webhook_id for delivery in receiver.received] == ["msg_1", "msg_1", "msg_2"]


@pytest.mark.parametrize("body", ["", "not json", "[1, 2]", '{"data": 3}', '{"data": null}'])
def test_a_body_that_is_no_alert_is_kept_as_an_empty_one(body):
    with Receiver(SECRET) as receiver:
        assert post(receiver.url, body=body) == 204
    assert receiver.received[0].alert == {}


def test_each_delivery_is_told_and_a_failing_callback_harms_none(caplog):
    told, done = [], threading.Event()

    def tell(delivery):
        told.append(delivery)
        if len(told) == 2:
            done.set()
        raise RuntimeError("the callback's own fault")

    with Receiver(SECRET, on_delivery=tell) as receiver:
        assert [post(receiver.url, key="msg_1"), post(receiver.url, key="msg_2")] == [204, 204]
        assert done.wait(20)
    until(lambda: "the callback's own fault" in caplog.text)  # it is raised after that
    assert sorted(told, key=lambda delivery: delivery.webhook_id) == receiver.received  # each is told on its own thread


def test_a_request_without_a_length_or_with_a_huge_one_is_refused():
    with Receiver(SECRET) as receiver:
        port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])
        for length, status in ((None, 411), ("many", 411), (str(MAX_BODY + 1), 413)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.putrequest("POST", "/alerts")
            if length:
                connection.putheader("Content-Length", length)
            connection.endheaders()
            assert connection.getresponse().status == status
            connection.close()
    assert receiver.received == []


def test_it_listens_on_this_machine_only_and_while_the_block_lasts():
    with Receiver(SECRET) as one, Receiver(SECRET) as two:
        assert one.url != two.url
        assert one.url.startswith("http://127.0.0.1:")
        url = one.url
    with pytest.raises(requests.ConnectionError):
        requests.post(url, data=BODY, timeout=5)


def test_a_wrong_secret_is_told_at_once():
    for secret in ("", "whsec_", "whsk_abc"):
        with pytest.raises(ValueError, match="secret"):
            Receiver(secret)
