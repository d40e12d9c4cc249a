"""Every refusal of the exchange, in one table.

Codes, texts and HTTP statuses are those of Binance's `errors.md` and of the "HTTP Return Codes" of its REST API.
The WebSocket API answers with the same codes and uses the HTTP status as `status`.
"""

from enum import Enum
from http import HTTPStatus
from typing import NamedTuple


class _Refusal(NamedTuple):
    code: int
    message: str
    status: HTTPStatus = HTTPStatus.BAD_REQUEST


class Refusal(_Refusal, Enum):
    """What the exchange can refuse; `{}` in a message is filled in where it is raised."""

    UNKNOWN = (-1000, "An unknown error occurred while processing the request.", HTTPStatus.INTERNAL_SERVER_ERROR)
    FORBIDDEN = (-1000, "Forbidden.", HTTPStatus.FORBIDDEN)
    NOT_LOGGED_ON = (-1002, "You are not authorized to execute this request.", HTTPStatus.UNAUTHORIZED)
    TOO_MUCH_WEIGHT = (
        -1003,
        (
            "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        ),
        HTTPStatus.TOO_MANY_REQUESTS,
    )
    BANNED = (
        -1003,
        (
            "Way too much request weight used; IP banned until {}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        ),
        HTTPStatus.IM_A_TEAPOT,
    )
    TIMEOUT = (
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
        HTTPStatus.REQUEST_TIMEOUT,
    )
    TOO_MANY_ORDERS = (
        -1015,
        "Too many new orders; current limit is {} orders per {}.",
        HTTPStatus.TOO_MANY_REQUESTS,
    )
    FILTER = (-1013, "Filter failure: {}")
    OUTSIDE_WINDOW = (-1021, "Timestamp for this request is outside of the recvWindow.")
    AHEAD_OF_SERVER = (-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    BAD_SIGNATURE = (-1022, "Signature for this request is not valid.")
    ILLEGAL_CHARACTERS = (-1100, "Illegal characters found in parameter '{}'; legal range is '{}'.")
    DUPLICATE_PARAMETER = (-1101, "Duplicate values for a parameter detected.")
    MISSING = (-1102, "Mandatory parameter '{}' was not sent, was empty/null, or malformed.")
    MISSING_EITHER = (-1102, "Param '{}' or '{}' must be sent, but both were empty/null!")
    EMPTY = (-1105, "Parameter '{}' was empty.")
    NOT_REQUIRED = (-1106, "Parameter '{}' sent when not required.")
    TOO_PRECISE = (-1111, "Parameter '{}' has too much precision.")
    BAD_TIME_IN_FORCE = (-1115, "Invalid timeInForce.")
    BAD_ORDER_TYPE = (-1116, "Invalid orderType.")
    BAD_SIDE = (-1117, "Invalid side.")
    BAD_INTERVAL = (-1120, "Invalid interval.")
    BAD_SYMBOL = (-1121, "Invalid symbol.")
    LISTEN_KEY_GONE = (
        -1125,
        "listenKey has been retired; subscribe with userDataStream.subscribe.signature on the WebSocket API.",
        HTTPStatus.GONE,
    )
    LOOKUP_TOO_LONG = (-1127, "More than 24 hours between startTime and endTime.")
    BAD_COMBINATION = (-1128, "Combination of optional parameters invalid.")
    BAD_PARAMETER = (-1130, "Data sent for parameter '{}' is not valid.")
    WINDOW_TOO_LONG = (-1131, "recvWindow must be less than 60000.")
    BAD_JSON = (-1135, "Invalid JSON Request")
    BAD_CANCEL_REPLACE_MODE = (-1130, "Data sent for parameter 'cancelReplaceMode' is not valid.")
    BAD_PREVENTION_MODE = (-1130, "Data sent for parameter 'selfTradePreventionMode' is not valid.")
    BAD_CANCEL_RESTRICTIONS = (-1145, "Invalid cancelRestrictions")
    BAD_TIME_UNIT = (-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    KEY_CANNOT_LOG_ON = (-4056, "{} API key is not supported.")
    PERIOD_TOO_LONG = (-4047, "Time interval must be within 0-{} days")
    INSUFFICIENT_BALANCE = (-2010, "Account has insufficient balance for requested action.")
    DUPLICATE_ORDER = (-2010, "Duplicate order sent.")
    WOULD_MATCH = (-2010, "Order would immediately match and take.")
    NO_ICEBERG_ORDERS = (-2010, "Iceberg orders are not supported for this symbol.")
    MARKET_CLOSED = (-1013, "Market is closed.")
    PREVENTION_NOT_ALLOWED = (-1013, "This symbol does not allow the specified self-trade prevention mode.")
    WOULD_TRIGGER = (-2010, "Order would trigger immediately.")
    BAD_LIST_PRICES = (-2010, "The relationship of the prices for the orders is not correct.")
    BAD_LIST_ORDER_TYPE = (-1158, "Order type not supported in OCO.")
    LIMIT_MUST_BE_BELOW = (-1165, "A limit order in a buy OCO must be below.")
    LIMIT_MUST_BE_ABOVE = (-1166, "A limit order in a sell OCO must be above.")
    NONE_IS_CONTINGENT = (-1168, "At least one OCO order must be contingent.")
    NO_TRAILING_ORDERS = (-2010, "Trailing stop orders are not supported for this symbol.")
    NO_PEGGED_ORDERS = (-2010, "Pegged orders are not supported for this symbol.")
    NO_LIQUIDITY = (-2010, "Order book liquidity is less than `LOT_SIZE` filter minimum quantity.")
    UNKNOWN_ORDER = (-2011, "Unknown order sent.")
    UNKNOWN_LIST = (-2011, "Unknown order list sent.")
    NO_SUCH_LIST = (-2018, "Order list does not exist.")
    CANCEL_RESTRICTED = (-2011, "Order was not canceled due to cancel restrictions.")
    PARTLY_REPLACED = (-2021, "Order cancel-replace partially failed.", HTTPStatus.CONFLICT)
    NOT_REPLACED = (-2022, "Order cancel-replace failed.")
    NO_SUCH_ORDER = (-2013, "Order does not exist.")
    BAD_KEY_FORMAT = (-2014, "API-key format invalid.", HTTPStatus.UNAUTHORIZED)
    UNKNOWN_KEY = (-2015, "Invalid API-key, IP, or permissions for action.", HTTPStatus.UNAUTHORIZED)
    SUBSCRIPTION_ACTIVE = (-2035, "User Data Stream subscription already active.")
    SUBSCRIPTION_INACTIVE = (-2036, "User Data Stream subscription not active.")


class ExchangeError(Exception):
    """A request that the exchange refuses.

    Args:
        refusal: The line of the table.
        details: What fills the `{}` of its message, in order.
        retry_after_s: Seconds until it makes sense to ask again, for rate limits.
        status: The HTTP status, where it is not that of the table.
        data: More about it, sent along.
    """

    def __init__(
        self,
        refusal: Refusal,
        *details: object,
        retry_after_s: int | None = None,
        status: int | None = None,
        data: object = None,
    ) -> None:
        self.refusal = refusal
        self.data = data
        self.status = int(refusal.status) if status is None else status
        self.message = refusal.message.format(*details)
        self.retry_after_s = retry_after_s
        super().__init__(f"{refusal.code}: {self.message}")

    @property
    def payload(self) -> dict[str, object]:
        """The error as it is sent: `{"code": ..., "msg": ...}`."""
        payload: dict[str, object] = {"code": self.refusal.code, "msg": self.message}
        return payload if self.data is None else payload | {"data": self.data}
