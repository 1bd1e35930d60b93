"""How each venue tells its trades: one function per dialect, from a report to text."""

import json
from datetime import timedelta
from typing import NamedTuple

from pipelines.market.trades import EPOCH, Trade
from pipelines.market.world import ANONYMOUS, Seat, custodian_of
from schemas.atoms import plain

TAKER_FEE, MAKER_FEE = 5, 1  # In 1/10,000 of the quote amount.
SCATTER = 0x9E3779B97F4A7C15F39CC0605CEDC835  # Odd, so that multiplying by it mod 2^k gives each number its own id.
SOH = "\x01"


class Report(NamedTuple):
    """One side's report of a trade. `quantity` stands apart because it is what flaws spoil."""

    trade: Trade
    side: str  # FIX 54: 1 buy, 2 sell.
    kind: str  # FIX 150: F trade, G correct, H bust.
    client_lei: str
    quantity: str

    @property
    def seat(self) -> Seat:
        """Who reports."""
        return self.trade.buyer if self.side == "1" else self.trade.seller

    @property
    def exec_id(self) -> str:
        """FIX 17: its own, whatever it refers to."""
        return self.first_id + ("" if self.kind == "F" else self.kind)

    @property
    def first_id(self) -> str:
        """The exec id of the report that a G or H refers to."""
        return f"E{self.trade.number}{'-BS'[int(self.side)]}"

    @property
    def maker(self) -> bool:
        """True if its order was resting."""
        return self.side != self.trade.taker

    @property
    def quote(self) -> str:
        """The venue's own quote amount."""
        return plain(self.trade.quote_units, self.trade.market.quote_places)

    @property
    def fee(self) -> str:
        """In the quote instrument, cut to the venue's digits."""
        units = self.trade.quote_units * (MAKER_FEE if self.maker else TAKER_FEE) // 10_000
        return plain(units, self.trade.market.quote_places)

    @property
    def fee_symbol(self) -> str:
        """The quote as venues name it, without its network."""
        return self.trade.market.quote.key.partition(".")[0]

    @property
    def time(self) -> str:
        """RFC 3339 to the microsecond, without its zone, which is UTC."""
        return (EPOCH + timedelta(microseconds=self.trade.at)).isoformat(timespec="microseconds")[:26]

    def code(self, salt: int) -> str:
        """32 hexadecimal digits of its own, as venues' ids look."""
        return f"{(self.trade.number * 4 + salt) * SCATTER % 2**128:032X}"


def both_sides(trade: Trade) -> tuple[Report, Report]:
    """Return the reports of the buyer and of the seller."""
    text = trade.quantity_text
    return (
        Report(trade, "1", "F", trade.buyer.client.lei, text),
        Report(trade, "2", "F", trade.seller.client.lei, text),
    )


def fix44(report: Report, number: int) -> str:
    """Return a drop copy of an ExecutionReport: FIX 4.4, with its BodyLength and CheckSum."""
    trade, market, seat = report.trade, report.trade.market, report.seat
    mic, base = market.venue.mic, market.base
    time = report.time.replace("-", "")[:-3].replace("T", "-")
    day, price, busted = time[:8], trade.price_text, report.kind == "H"
    parties = [(report.client_lei, "N", 3)]
    if seat.broker:
        parties.append((seat.broker.lei, "N", 79))
    parties += [(mic, "G", 73), (custodian_of(base).lei, "N", 28)]
    fields: list[tuple[int, object]] = [
        (35, 8), (49, mic), (56, "DROPCOPY"), (34, number), (52, time),
        (37, f"O{trade.number}{report.side}"), (11, f"C{trade.number}{report.side}"), (17, report.exec_id),
        *([] if report.kind == "F" else [(19, report.first_id)]),
        (150, report.kind), (39, 4 if busted else 2), (1, seat.account(mic)), (55, market.symbol),
        (54, report.side), (38, report.quantity), (32, report.quantity), (31, price),
        (15, base.key.partition(".")[0]), (151, 0),
        (14, 0 if busted else report.quantity), (6, 0 if busted else price),
        (75, day), (64, day), (60, time), (880, f"M{trade.number}"), (1056, report.quote),
        (453, len(parties)),
        *(pair for name, source, role in parties for pair in ((448, name), (447, source), (452, role))),
        (136, 1), (137, report.fee), (138, report.fee_symbol), (139, 4),
    ]  # fmt: skip
    body = "".join([f"{tag}={value}{SOH}" for tag, value in fields])
    message = f"8=FIX.4.4{SOH}9={len(body)}{SOH}{body}"
    return f"{message}10={sum(message.encode()) % 256:03d}{SOH}"


def kraken(report: Report, number: int) -> str:
    """Return one entry of `trades` in a TradesHistory response."""
    trade = report.trade
    own, order = report.code(int(report.side)), report.code(0)
    record = {
        "ordertxid": f"O{order[:5]}-{order[5:10]}-{order[10:16]}",
        "postxid": "TKH2SE-M7IF5-CFI7LT",
        "pair": trade.market.symbol,
        "time": "@",
        "type": "buy" if report.side == "1" else "sell",
        "ordertype": "limit" if report.maker else "market",
        "price": trade.price_text,
        "cost": report.quote,
        "fee": report.fee,
        "vol": report.quantity,
        "margin": "0.00000",
        "misc": "",
        "trade_id": trade.number,
        "maker": report.maker,
        "ledgers": [f"L{own[16:21]}-{own[21:26]}-{own[26:]}"],
    }
    # The time is a JSON number there, and no float may come near it.
    seconds = f"{trade.at // 10**6}.{trade.at % 10**6:06d}"
    text = json.dumps(record).replace('"@"', seconds)
    return f'"T{own[-16:-11]}-{own[-11:-6]}-{own[-6:]}": {text}'


def coinbase(report: Report, number: int) -> str:
    """Return one of `fills` of Advanced Trade's historical fills."""
    trade, own = report.trade, report.code(int(report.side))
    return json.dumps(
        {
            "entry_id": f"{own[:5]}-{own[5:12]}-{own[12:20]}",
            "trade_id": f"{trade.number}",
            "order_id": f"{own[20:26]}-{own[26:]}-{report.side:0>6}",
            "trade_time": f"{report.time}Z",
            "trade_type": "FILL",
            "price": trade.price_text,
            "size": report.quantity,
            "commission": report.fee,
            "product_id": trade.market.symbol,
            "sequence_timestamp": f"{report.time}Z",
            "liquidity_indicator": "MAKER" if report.maker else "TAKER",
            "size_in_quote": False,
            "user_id": report.seat.client.key.lower(),
            "side": "BUY" if report.side == "1" else "SELL",
            "retail_portfolio_id": "",
        }
    )


def bybit(report: Report, number: int) -> str:
    """Return one of `list` of an execution list: both sides share its execId."""
    trade, match, own = report.trade, report.code(0).lower(), report.code(int(report.side)).lower()
    return json.dumps(
        {
            "symbol": trade.market.symbol,
            "orderId": _uuid(own),
            "orderLinkId": "",
            "side": "Buy" if report.side == "1" else "Sell",
            "orderPrice": trade.price_text,
            "orderQty": report.quantity,
            "leavesQty": "0",
            "createType": "CreateByUser",
            "orderType": "Limit" if report.maker else "Market",
            "stopOrderType": "",
            "execFee": report.fee,
            "execId": _uuid(match),
            "execPrice": trade.price_text,
            "execQty": report.quantity,
            "execType": "Trade",
            "execValue": report.quote,
            "execTime": f"{trade.at // 1000}",
            "feeCurrency": report.fee_symbol,
            "isMaker": report.maker,
            "feeRate": "0.0001" if report.maker else "0.0005",
            "tradeIv": "",
            "markIv": "",
            "markPrice": trade.price_text,
            "indexPrice": trade.price_text,
            "underlyingPrice": "",
            "blockTradeId": "",
            "closedSize": "0",
            "seq": 4_688_000_000 + trade.number,
        }
    )


def binance(report: Report, number: int) -> str:
    """Return one of an account's trade list. It always writes eight digits."""
    trade = report.trade
    return json.dumps(
        {
            "symbol": trade.market.symbol,
            "id": trade.number,
            "orderId": trade.number * 2 + int(report.side),
            "orderListId": -1,
            "price": _eight(trade.price_text),
            "qty": _eight(report.quantity),
            "quoteQty": _eight(report.quote),
            "commission": _eight(report.fee),
            "commissionAsset": report.fee_symbol,
            "time": trade.at // 1000,
            "isBuyer": report.side == "1",
            "isMaker": report.maker,
            "isBestMatch": True,
        }
    )


def _uuid(code: str) -> str:
    return f"{code[:8]}-{code[8:12]}-{code[12:16]}-{code[16:20]}-{code[20:]}"


def _eight(text: str) -> str:
    """Pad a number's fraction to eight digits; what is no number, a flaw wrote, and stays."""
    whole, point, fraction = text.partition(".")
    return f"{whole}.{fraction:0<8}" if point and fraction.isdigit() else text


COLUMNS = (
    "exec_type", "exec_id", "exec_ref_id", "match_id", "symbol", "side", "quantity", "price",
    "quote_quantity", "traded_at", "trade_on", "value_on", "client", "prime_broker", "custodian", "account",
    "fee", "fee_symbol",
)  # fmt: skip


def columns(report: Report) -> tuple[str, ...]:
    """Return the columns of the delimited and Parquet forms: blank for none."""
    trade, seat, day = report.trade, report.seat, report.time[:10]
    named = trade.market.venue.dialect not in ANONYMOUS
    return (
        report.kind, report.exec_id, "" if report.kind == "F" else report.first_id, f"M{trade.number}",
        trade.market.symbol, report.side, report.quantity, trade.price_text, report.quote,
        f"{report.time}Z", day, day,
        report.client_lei if named else "", seat.broker.lei if named and seat.broker else "",
        custodian_of(trade.market.base).lei if named else "", seat.account(trade.market.venue.mic),
        report.fee, report.fee_symbol,
    )  # fmt: skip


def delimited(report: Report, number: int) -> str:
    """Return a CSV line without its end."""
    return ",".join(columns(report))
