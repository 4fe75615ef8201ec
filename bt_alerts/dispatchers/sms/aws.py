"""Text messages by AWS SNS (https://docs.aws.amazon.com/sns/latest/api/API_Publish.html).

boto3 finds the credentials, botocore signs (Signature Version 4), and our own client sends: it keeps the time and tells
what is sure from what is not, where that of boto3 tries again by itself. boto3 may ask the machine's own metadata
service for credentials the first time, which takes a second or two more.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from bt_alerts.dispatchers.base import DeliveryFailed, Failure, Receipt, register_secrets_in
from bt_alerts.dispatchers.http import Answer, HttpClient, raise_for_status, retry_after
from bt_alerts.dispatchers.sms.providers import NAME, Provider, checked_sender


class AwsSns(Provider):
    """What boto3 would send, sent by our own client."""

    name = "aws_sns"
    title = "AWS SNS"
    #: Codes of wrong credentials begin with one of these.
    REFUSED = (
        "AccessDenied",
        "AuthorizationError",
        "ExpiredToken",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClient",
    )

    def __init__(self, region: str | None, sender: str, api_url: str = "") -> None:
        if importlib.util.find_spec("boto3") is None:
            raise ValueError('provider must be one that is installed: aws_sns needs `pip install "bt-alerts[aws]"`')
        self._region = (region or "").strip()
        if not re.fullmatch(r"[a-z0-9-]*", self._region):
            raise ValueError("aws_region must be the name of a region, such as eu-central-1")
        self.sender = checked_sender(sender)
        self.unset = [] if self._region else ["aws_region (AWS_REGION)"]
        domain = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        self.api_url = (api_url or f"https://sns.{self._region}.{domain}").rstrip("/")
        self._lock = threading.Lock()
        self._found: Any = None

    def send(self, http: HttpClient, to: str, text: str, timeout: float) -> Receipt:
        attributes = {"AWS.SNS.SMS.SMSType": "Transactional"}  # reliability before price
        if self.sender:
            key = "AWS.SNS.SMS.SenderID" if NAME.fullmatch(self.sender) else "AWS.MM.SMS.OriginationNumber"
            attributes[key] = self.sender
        form = {"Action": "Publish", "PhoneNumber": to, "Message": text}
        for position, (name, value) in enumerate(attributes.items(), start=1):
            entry = f"MessageAttributes.entry.{position}"
            form |= {f"{entry}.Name": name, f"{entry}.Value.DataType": "String", f"{entry}.Value.StringValue": value}
        answer = self._ask(http, form, timeout)
        found = re.search(rb"<MessageId>([\w-]{1,100})</MessageId>", answer.body)
        if found is None:
            raise answer.failed(Failure.UNKNOWN, "answered, but not as SNS does: is there a proxy or a login page?")
        return Receipt(found[1].decode())

    def check(self, http: HttpClient, timeout: float) -> Receipt:
        try:
            self._ask(http, {"Action": "GetSMSAttributes"}, timeout)
        except DeliveryFailed as failed:
            if "AuthorizationError" not in failed.reason:
                raise
            return Receipt(note="AWS knows the credentials; allow sns:GetSMSAttributes to check more, and sns:Publish")
        return Receipt()

    def _ask(self, http: HttpClient, form: Mapping[str, str], timeout: float) -> Answer:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        body = urlencode({**form, "Version": "2010-03-31"}, errors="replace")
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        signed = AWSRequest("POST", f"{self.api_url}/", data=body, headers=headers)
        SigV4Auth(self._credentials(), "sns", self._region).add_auth(signed)
        answer = http.request(
            "POST", f"{self.api_url}/", timeout=timeout, data=body.encode(), headers=dict(signed.headers)
        )
        self._raise_for(answer)
        return answer

    def _credentials(self) -> Any:
        import boto3

        with self._lock:
            if self._found is None:
                self._found = boto3.Session(region_name=self._region).get_credentials()
            frozen = self._found.get_frozen_credentials() if self._found is not None else None
        if frozen is None or not frozen.secret_key:
            raise DeliveryFailed(
                Failure.AUTH,
                "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`",
                answered=False,
            )
        register_secrets_in([frozen.secret_key, frozen.token or ""])
        return frozen

    def _raise_for(self, answer: Answer) -> None:
        code, said = (_tag(answer.body, name) for name in ("Code", "Message"))
        if not code or not 400 <= answer.status < 500:
            raise_for_status(answer)
            return
        reason = f"(SNS error {code}: {said})"
        if "opted out" in said.lower() or code.startswith("OptedOut"):
            dead = "may not write to this number: its owner answered STOP"
            raise answer.failed(Failure.PERMANENT, f"{dead} {reason}", dead_target=True)
        if code.startswith(self.REFUSED):
            raise answer.failed(
                Failure.AUTH, f"refused the AWS credentials, or they may not send text messages (sns:Publish) {reason}"
            )
        if code.startswith(("Throttl", "RequestLimitExceeded", "TooManyRequests")):
            wait = retry_after(answer.headers, answer.now) or None
            failure = Failure.RETRY_AFTER if wait else Failure.RETRY
            raise answer.failed(failure, f"says that there were too many messages {reason}", retry_after=wait)
        raise answer.failed(Failure.PERMANENT, f"refused the message {reason}")


def _tag(body: bytes, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>".encode(), body)
    return found[1].decode("utf-8", "replace")[:200] if found else ""
