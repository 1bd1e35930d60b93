"""What the custodians hold: enough for most of what the market owes, and their statements of it."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

from pipelines.market.reference import rfc3339, write_table
from pipelines.market.world import BANK, WALLETS, Account, MarketPlan, World, atoms_worth
from schemas.atoms import plain

Holdings = dict[tuple[str, str], int]
ENCUMBERED_USD = 1_000
FIRST_STATEMENT = datetime(2026, 1, 1, tzinfo=UTC)
CAMT = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"


def encumbered(world: World) -> Holdings:
    """Return what clients own but cannot use, in atoms: a thousand dollars' worth in every seventh account.

    It does not depend on the cycle, so what one cycle states the next one states again.
    """
    return {
        row.key: atoms_worth(ENCUMBERED_USD, row.instrument)
        for row in world.accounts[::7]
        if row.participant.role == "CLNT"
    }


def funded(world: World, net: Mapping[tuple[str, str], int], plan: MarketPlan) -> Holdings:
    """Return what each participant has in total, in atoms, for every account.

    Who must pay in after netting can use `plan.funding_percent` of it on average: about half have all of
    it, the others less. Who must not can use nothing. A broker has what it promised to lend.
    """
    rng = random.Random(f"{plan.seed} funding")
    shares = (min(100, 2 * plan.funding_percent), max(0, 2 * plan.funding_percent - 100))
    holdings = {row.key: max(0, -net.get(row.key, 0)) * rng.choice(shares) // 100 for row in world.accounts}
    for key, atoms in encumbered(world).items():
        holdings[key] += atoms
    for loan in world.loans:
        if loan.seat.broker:
            holdings[loan.seat.broker.key, loan.instrument.key] += loan.atoms
    return holdings


def write_custody(world: World, plan: MarketPlan, holdings: Holdings, folder: Path) -> None:
    """Write custody/: a CSV statement of all wallets, and a camt.053 document per currency at the bank."""
    sequence = (plan.cut_at - FIRST_STATEMENT) // timedelta(hours=4) + 1
    stuck = encumbered(world)
    # Total, and what of it cannot be used.
    balances = {row: (holdings[row.key], min(holdings[row.key], stuck.get(row.key, 0))) for row in world.accounts}
    write_table(
        folder / "custody" / "strongvault.csv",
        "statement_id statement_seq custodian_lei account account_title_lei segregation as_of update "
        "instrument total available held pledged staked restricted pending_in pending_out finality",
        (_wallet_row(row, sequence, plan, *amounts) for row, amounts in balances.items() if row.custodian is WALLETS),
    )
    for currency in sorted({row.instrument.iso4217 for row in world.accounts if row.custodian is BANK}):
        statements = "".join(
            _statement(row, sequence, plan, *amounts)
            for row, amounts in balances.items()
            if row.instrument.iso4217 == currency
        )
        document = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{CAMT}">\n<BkToCstmrStmt>\n'
            f"<GrpHdr><MsgId>HV-{sequence}-{currency}</MsgId><CreDtTm>{rfc3339(plan.cut_at)}</CreDtTm></GrpHdr>\n"
            f"{statements}</BkToCstmrStmt>\n</Document>\n"
        )
        path = folder / "custody" / f"harbourvale-{currency}.xml"
        path.write_text(document, encoding="utf-8", newline="\n")


def _wallet_row(row: Account, sequence: int, plan: MarketPlan, total: int, stuck: int) -> list[object]:
    pledged, staked = (0, stuck) if row.instrument.key in ("ETH", "SOL", "NEAR") else (stuck, 0)
    amounts = (total, total - stuck, 0, pledged, staked, 0, 0, 0)
    return [
        f"SV-{sequence}-{row.participant.key}", sequence, row.custodian.lei, row.account, row.participant.lei,
        "PB_TITLED" if row.participant.role == "PB" else "CLIENT_TITLED", rfc3339(plan.cut_at), "COMPLETE",
        row.instrument.key, *(plain(amount, row.instrument.decimals) for amount in amounts), "FINAL",
    ]  # fmt: skip


def _statement(row: Account, sequence: int, plan: MarketPlan, closing: int, stuck: int) -> str:
    """Return the Stmt of one account. Two booked entries lead from its opening to its closing balance."""
    entries = [("CRDT", closing // 4), ("DBIT", closing // 7)] if closing >= 7 else []
    opening = closing - sum(amount if sign == "CRDT" else -amount for sign, amount in entries)
    opens, cut = rfc3339(plan.opens_at), rfc3339(plan.cut_at)

    def amount(atoms: int) -> str:
        return f'<Amt Ccy="{row.instrument.iso4217}">{plain(atoms, row.instrument.decimals)}</Amt>'

    def balance(code: str, atoms: int, at: str) -> str:
        return (
            f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{amount(atoms)}"
            f"<CdtDbtInd>CRDT</CdtDbtInd><Dt><DtTm>{at}</DtTm></Dt></Bal>\n"
        )

    booked = "".join(
        f"<Ntry><NtryRef>{index}</NtryRef>{amount(atoms)}<CdtDbtInd>{sign}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>"
        f"<BookgDt><DtTm>{opens}</DtTm></BookgDt><ValDt><DtTm>{opens}</DtTm></ValDt>"
        f"<AcctSvcrRef>HV{sequence}-{row.participant.key}-{index}</AcctSvcrRef>"
        f"<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>{'RCDT' if sign == 'CRDT' else 'ICDT'}</Cd>"
        f"<SubFmlyCd>DMCT</SubFmlyCd></Fmly></Domn></BkTxCd></Ntry>\n"
        for index, (sign, atoms) in enumerate(entries, start=1)
    )
    form = "IBAN" if row.account.startswith("GB") else "Othr"
    account_id = f"<IBAN>{row.account}</IBAN>" if form == "IBAN" else f"<Othr><Id>{row.account}</Id></Othr>"
    return (
        f"<Stmt><Id>HV-{sequence}-{row.participant.key}-{row.instrument.iso4217}</Id>"
        f"<ElctrncSeqNb>{sequence}</ElctrncSeqNb><CreDtTm>{cut}</CreDtTm>"
        f"<FrToDt><FrDtTm>{opens}</FrDtTm><ToDtTm>{cut}</ToDtTm></FrToDt>\n"
        f"<Acct><Id>{account_id}</Id><Ccy>{row.instrument.iso4217}</Ccy>"
        f"<Ownr><Nm>{escape(row.participant.name)}</Nm><Id><OrgId><LEI>{row.participant.lei}</LEI></OrgId></Id></Ownr>"
        f"<Svcr><FinInstnId><LEI>{row.custodian.lei}</LEI><Nm>{escape(row.custodian.name)}</Nm></FinInstnId></Svcr>"
        f"</Acct>\n{balance('OPBD', opening, opens)}{balance('CLBD', closing, cut)}"
        f"{balance('CLAV', closing - stuck, cut)}{booked}</Stmt>\n"
    )
