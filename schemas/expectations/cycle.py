"""The rules that a cycle's stored records are judged by before anything of it becomes final.

Each rule is a query for the rows that break it: none, and the statement is true. The queries know nothing
of how the records were computed, only how they must agree with each other: a second opinion. They name
files, instruments and participants and never select an amount, because what they find is read by many.

One text serves SQLite and PostgreSQL. Amounts are compared through `atoms_minus` and `atoms_sign` and
summed with `atoms_sum` (schemas.records): on SQLite they are TEXT, which SUM and < would read in their own
way.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["BLOCK", "WARN"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A statement, and the query for what contradicts it. BLOCK stops the batch, WARN only tells."""

    name: str
    statement: str
    severity: Severity
    sql: str  # `:batch` is the id of the batch.


# An amount that the venue does not state is null, and null differs from nothing.
TOTALS_DIFFER = """(stated_reports <> counted_reports
            OR atoms_sign(atoms_minus(stated_base_atoms, counted_base_atoms)) <> 0
            OR atoms_sign(atoms_minus(stated_quote_atoms, counted_quote_atoms)) <> 0)"""

FRAMES = (
    "fills", "quarantined", "outcomes", "trades", "obligations", "decisions", "certificates", "prices", "positions",
    "postings", "settlements", "available", "lines", "settlement_credit",
)  # fmt: skip

# What is in quarantine can explain that fewer reports were counted than stated, and nothing else.
KEPT_OUT = "(quarantined > 0 AND counted_reports < stated_reports)"

RULES = (
    Rule(
        "batch_is_stored",
        "The batch is stored and was not aborted.",
        "BLOCK",
        # Every other rule passes on no rows at all, so this one makes sure that there is something to judge.
        """
        SELECT 'batch' AS missing
        WHERE NOT EXISTS (SELECT 1 FROM batches WHERE batch_id = :batch AND state <> 'ABORTED')
           OR NOT EXISTS (SELECT 1 FROM plans WHERE batch_id = :batch)
        """,
    ),
    Rule(
        "batch_follows_a_committed_one",
        "The batch is the first, or follows an earlier batch that is committed.",
        "BLOCK",
        """
        SELECT b.batch_id FROM batches b LEFT JOIN batches p ON p.batch_id = b.previous_batch_id
        WHERE b.batch_id = :batch AND b.previous_batch_id IS NOT NULL
          AND (p.batch_id IS NULL OR p.cut_at >= b.cut_at
            OR p.state NOT IN ('COMMITTED', 'EXECUTING', 'EXECUTION_UNKNOWN', 'FINAL'))
        """,
    ),
    Rule(
        "positions_sum_to_zero",
        "The net positions of each instrument sum to zero.",
        "BLOCK",
        """
        SELECT instrument FROM positions WHERE batch_id = :batch
        GROUP BY instrument HAVING atoms_sign(atoms_sum(net_atoms)) <> 0
        """,
    ),
    Rule(
        "net_is_credit_less_debit",
        "Each net position is what was received less what was paid.",
        "BLOCK",
        """
        SELECT participant, instrument FROM positions
        WHERE batch_id = :batch
          AND atoms_sign(atoms_minus(atoms_minus(credit_atoms, debit_atoms), net_atoms)) <> 0
        """,
    ),
    Rule(
        "closing_is_opening_and_what_moved",
        "Each closing balance is what was available, plus net position and credit drawn, less what was lent.",
        "BLOCK",
        """
        SELECT participant, instrument FROM positions
        WHERE batch_id = :batch AND atoms_sign(atoms_minus(
            atoms_minus(atoms_minus(closing_atoms, available_atoms), atoms_minus(net_atoms, lent_atoms)),
            drawn_atoms)) <> 0
        """,
    ),
    Rule(
        "nobody_is_below_zero",
        "No participant starts or ends with less than nothing.",
        "BLOCK",
        """
        SELECT participant, instrument FROM positions
        WHERE batch_id = :batch AND (atoms_sign(available_atoms) < 0 OR atoms_sign(closing_atoms) < 0)
        """,
    ),
    Rule(
        "accounts_belong_to_one_participant",
        "No account is shared: each belongs to one participant.",
        "BLOCK",
        """
        SELECT account FROM positions WHERE batch_id = :batch AND account <> ''
        GROUP BY account HAVING COUNT(DISTINCT participant) > 1
        """,
    ),
    Rule(
        "every_record_is_accounted_for",
        "Of every file, the records are those accepted, those quarantined and the duplicates, and no others.",
        "BLOCK",
        """
        SELECT file FROM input_files
        WHERE batch_id = :batch AND records <> accepted + quarantined + duplicates
        """,
    ),
    Rule(
        "quarantine_is_explained",
        "Every quarantined record of every file has a reason on record.",
        "BLOCK",
        # The reason why a file was kept out whole stands for no record of it.
        """
        SELECT file FROM (
            SELECT file, quarantined AS counted, 0 AS explained FROM input_files WHERE batch_id = :batch
            UNION ALL
            SELECT l.file, 0, l.rows FROM flaws l
            LEFT JOIN input_files f ON f.batch_id = l.batch_id AND f.file = l.file
            WHERE l.batch_id = :batch AND (f.flaw IS NULL OR f.flaw <> l.flaw)
        ) AS both_sides
        GROUP BY file HAVING SUM(counted) <> SUM(explained)
        """,
    ),
    Rule(
        "degraded_says_the_truth",
        "The batch is called degraded exactly when something was quarantined.",
        "BLOCK",
        """
        SELECT batch_id FROM plans WHERE batch_id = :batch AND degraded <> CASE WHEN EXISTS (
            SELECT 1 FROM input_files WHERE batch_id = :batch AND (quarantined > 0 OR flaw IS NOT NULL)
        ) THEN 1 ELSE 0 END
        """,
    ),
    Rule(
        "accepted_fills_enter_the_batch",
        "The new fills of the batch are exactly those accepted from the venues' files.",
        "BLOCK",
        """
        SELECT batch_id FROM plans WHERE batch_id = :batch AND fills_new <> (
            SELECT COALESCE(SUM(accepted), 0) FROM input_files WHERE batch_id = :batch AND stage = 'fills')
        """,
    ),
    Rule(
        "venue_totals_reconcile",
        "What each venue says it reported is what was read, to the last atom.",
        "BLOCK",
        f"""
        SELECT venue, base, quote, side FROM control_totals
        WHERE batch_id = :batch AND {TOTALS_DIFFER} AND NOT {KEPT_OUT}
        """,
    ),
    Rule(
        "every_fill_has_one_outcome",
        "Every fill, new or carried over, has one outcome: none is missing and none is counted twice.",
        "BLOCK",
        """
        SELECT batch_id FROM plans WHERE batch_id = :batch AND (
            fills_new + fills_carried <>
                (SELECT COALESCE(SUM(fills), 0) FROM fill_states WHERE batch_id = :batch)
            OR fills_new + fills_carried <>
                (SELECT COALESCE(SUM(rows), 0) FROM frames WHERE batch_id = :batch AND name = 'outcomes'))
        """,
    ),
    Rule(
        "what_settles_is_within_what_could",
        "No more chains settle than there are, and their value is not above the proven bound.",
        "BLOCK",
        """
        SELECT batch_id FROM plans WHERE batch_id = :batch AND (
            chains_settled < 0 OR chains_settled > chains
            OR atoms_sign(atoms_minus(bound_atoms, weight_atoms)) < 0)
        """,
    ),
    Rule(
        "every_class_is_within_its_bound",
        "In no priority class is what settles worth more than any lawful set could be.",
        "BLOCK",
        """
        SELECT priority FROM selections
        WHERE batch_id = :batch AND atoms_sign(atoms_minus(bound_atoms, weight_atoms)) < 0
        """,
    ),
    Rule(
        "classes_add_up_to_the_batch",
        "What the priority classes are worth, and could be worth, adds up to what the batch says.",
        "BLOCK",
        # A sum of no rows is null on SQLite.
        """
        SELECT batch_id FROM plans WHERE batch_id = :batch AND (
            atoms_sign(atoms_minus(weight_atoms,
                (SELECT COALESCE(atoms_sum(weight_atoms), '0') FROM selections WHERE batch_id = :batch))) <> 0
            OR atoms_sign(atoms_minus(bound_atoms,
                (SELECT COALESCE(atoms_sum(bound_atoms), '0') FROM selections WHERE batch_id = :batch))) <> 0)
        """,
    ),
    Rule(
        "prices_prove_a_class",
        "Every price belongs to the proof of a priority class, and none is below zero.",
        "BLOCK",
        """
        SELECT p.kind, p.party, p.instrument FROM prices p
        LEFT JOIN selections s ON s.batch_id = p.batch_id AND s.priority = p.priority
        WHERE p.batch_id = :batch AND (s.priority IS NULL OR p.price LIKE '-%')
        """,
    ),
    Rule(
        "what_waits_has_a_reason",
        "Everything that waits, is refused or has expired says why.",
        "BLOCK",
        """
        SELECT state FROM fill_states WHERE batch_id = :batch AND fills > 0 AND reason = ''
            AND state IN ('WAITING', 'UNMATCHED', 'REJECTED', 'EXPIRED')
        """,
    ),
    Rule(
        "top_ups_are_for_what_waits",
        "Funds that would release a chain are named for waiting chains only, and for known accounts.",
        "BLOCK",
        """
        SELECT batch_id FROM plans WHERE batch_id = :batch AND chains - chains_settled <
            (SELECT COUNT(DISTINCT chain_id) FROM top_ups WHERE batch_id = :batch)
        UNION ALL
        SELECT t.chain_id FROM top_ups t LEFT JOIN positions p ON p.batch_id = t.batch_id
            AND p.participant = t.participant AND p.instrument = t.instrument
        WHERE t.batch_id = :batch AND p.participant IS NULL
        """,
    ),
    Rule(
        "pay_in_schedule_is_what_is_owed",
        "Each participant is told to pay in exactly what its position owes, of own funds and of credit.",
        "BLOCK",
        """
        SELECT participant, instrument FROM (
            SELECT participant, instrument, atoms_minus(0, net_atoms) AS owes, drawn_atoms AS drawn,
                NULL AS pays, NULL AS draws
            FROM positions WHERE batch_id = :batch AND atoms_sign(net_atoms) < 0
            UNION ALL
            SELECT participant, instrument, NULL, NULL, pays_atoms, draws_atoms FROM pay_ins
            WHERE batch_id = :batch
        ) AS both_sides
        GROUP BY participant, instrument
        HAVING atoms_sign(atoms_minus(atoms_sum(owes), atoms_sum(pays))) <> 0
            OR atoms_sign(atoms_minus(atoms_sum(drawn), atoms_sum(draws))) <> 0
        """,
    ),
    Rule(
        "settled_chains_have_positions",
        "When a chain settles, there are positions that show it.",
        "BLOCK",
        """
        SELECT batch_id FROM plans WHERE batch_id = :batch AND chains_settled > 0
          AND NOT EXISTS (SELECT 1 FROM positions WHERE batch_id = :batch)
        """,
    ),
    Rule(
        "pay_ins_equal_pay_outs",
        "What is paid in, of own funds and on credit, equals what is paid out, for each instrument.",
        "BLOCK",
        """
        SELECT instrument FROM instructions WHERE batch_id = :batch
        GROUP BY instrument HAVING atoms_sign(atoms_minus(
            atoms_sum(CASE WHEN kind = 'PAY_OUT' THEN quantity_atoms END),
            atoms_sum(CASE WHEN kind <> 'PAY_OUT' THEN quantity_atoms END))) <> 0
        """,
    ),
    Rule(
        "instructions_move_the_positions",
        "Each participant is instructed once per instrument: to pay in what it owes and does not borrow, "
        "or to be paid what it is due.",
        "BLOCK",
        # Both cases are one equation: pay-out - pay-in = net + drawn.
        """
        SELECT p.participant, p.instrument FROM positions p
        LEFT JOIN instructions i ON i.batch_id = p.batch_id AND i.participant = p.participant
            AND i.instrument = p.instrument AND i.kind IN ('PAY_IN', 'PAY_OUT')
        WHERE p.batch_id = :batch
        GROUP BY p.participant, p.instrument, p.net_atoms, p.drawn_atoms
        HAVING COUNT(i.instruction_id) > 1 OR atoms_sign(atoms_minus(atoms_minus(atoms_minus(
            atoms_sum(CASE WHEN i.kind = 'PAY_OUT' THEN i.quantity_atoms END),
            atoms_sum(CASE WHEN i.kind = 'PAY_IN' THEN i.quantity_atoms END)),
            p.net_atoms), p.drawn_atoms)) <> 0
        """,
    ),
    Rule(
        "instructions_name_known_accounts",
        "Each instruction on own funds names the account and the custodian of the position that it moves.",
        "BLOCK",
        """
        SELECT i.participant, i.instrument FROM instructions i
        LEFT JOIN positions p ON p.batch_id = i.batch_id AND p.participant = i.participant
            AND p.instrument = i.instrument AND p.account = i.account AND p.custodian = i.custodian
        WHERE i.batch_id = :batch AND i.kind <> 'CREDIT_PAY_IN' AND p.participant IS NULL
        """,
    ),
    Rule(
        "credit_drawn_is_on_a_line",
        "The credit in each client's position is what its prime brokers' lines record as drawn.",
        "BLOCK",
        """
        SELECT participant, instrument FROM (
            SELECT participant, instrument, drawn_atoms AS shown, NULL AS lent
            FROM positions WHERE batch_id = :batch
            UNION ALL
            SELECT client, instrument, NULL, drawn_atoms FROM credit_draws WHERE batch_id = :batch
        ) AS both_sides
        GROUP BY participant, instrument
        HAVING atoms_sign(atoms_minus(atoms_sum(shown), atoms_sum(lent))) <> 0
        """,
    ),
    Rule(
        "credit_drawn_is_paid_in",
        "The prime brokers pay in exactly what their clients draw, for each instrument.",
        "BLOCK",
        """
        SELECT instrument FROM (
            SELECT instrument, drawn_atoms AS lent, NULL AS paid FROM credit_draws WHERE batch_id = :batch
            UNION ALL
            SELECT instrument, NULL, quantity_atoms FROM instructions
            WHERE batch_id = :batch AND kind = 'CREDIT_PAY_IN'
        ) AS both_sides
        GROUP BY instrument HAVING atoms_sign(atoms_minus(atoms_sum(lent), atoms_sum(paid))) <> 0
        """,
    ),
    Rule(
        "nobody_lends_more_than_is_drawn",
        "No prime broker's account is charged with more than its clients draw.",
        "BLOCK",
        """
        SELECT participant, instrument FROM (
            SELECT participant, instrument, lent_atoms AS charged, NULL AS drawn
            FROM positions WHERE batch_id = :batch
            UNION ALL
            SELECT prime_broker, instrument, NULL, drawn_atoms FROM credit_draws WHERE batch_id = :batch
        ) AS both_sides
        GROUP BY participant, instrument
        HAVING atoms_sign(atoms_minus(atoms_sum(drawn), atoms_sum(charged))) < 0
        """,
    ),
    Rule(
        "netting_never_adds",
        "Netting all together moves no more than netting by venue or by pair, and those no more than gross.",
        "BLOCK",
        """
        SELECT instrument FROM netting_effects WHERE batch_id = :batch AND (
            atoms_sign(atoms_minus(gross_atoms, bilateral_atoms)) < 0
            OR atoms_sign(atoms_minus(gross_atoms, prefunded_atoms)) < 0
            OR atoms_sign(atoms_minus(bilateral_atoms, multilateral_atoms)) < 0
            OR atoms_sign(atoms_minus(prefunded_atoms, multilateral_atoms)) < 0
            OR atoms_sign(multilateral_atoms) < 0)
        """,
    ),
    Rule(
        "every_amount_has_its_lineage",
        "Every frame from the venues' files to the positions is on record: any amount can be followed back.",
        "BLOCK",
        "SELECT wanted.name FROM ("
        + " UNION ALL ".join(f"SELECT '{name}' AS name" for name in FRAMES)
        + ") AS wanted LEFT JOIN frames f ON f.batch_id = :batch AND f.name = wanted.name"
        + " WHERE f.name IS NULL",
    ),
    Rule(
        "digests_are_whole",
        "Every file, every frame, the inputs and the plan have a SHA-256 digest.",
        "BLOCK",
        # TRIM strips the ends until it meets another character: what is left is not hexadecimal.
        """
        SELECT what FROM (
            SELECT file AS what, file_sha256 AS digest FROM input_files WHERE batch_id = :batch
            UNION ALL SELECT name, digest FROM frames WHERE batch_id = :batch
            UNION ALL SELECT 'inputs', inputs_digest FROM batches WHERE batch_id = :batch
            UNION ALL SELECT 'plan', plan_digest FROM plans WHERE batch_id = :batch
        ) AS digests
        WHERE LENGTH(digest) <> 64 OR TRIM(digest, '0123456789abcdef') <> ''
        """,
    ),
    Rule(
        "nothing_was_quarantined",
        "No record was quarantined.",
        "WARN",
        "SELECT file FROM input_files WHERE batch_id = :batch AND quarantined > 0",
    ),
    Rule(
        "no_file_was_kept_out",
        "No file was quarantined whole.",
        "WARN",
        "SELECT file FROM input_files WHERE batch_id = :batch AND flaw IS NOT NULL",
    ),
    Rule(
        "venue_totals_agree_despite_quarantine",
        "Where records of a venue were quarantined, its totals are those of what was read all the same.",
        "WARN",
        f"""
        SELECT venue, base, quote, side FROM control_totals
        WHERE batch_id = :batch AND {KEPT_OUT} AND {TOTALS_DIFFER}
        """,
    ),
    Rule(
        "every_venue_states_its_totals",
        "Every venue with reports in the cycle states its totals, to be held against what was read.",
        "WARN",
        """
        SELECT f.file FROM input_files f
        LEFT JOIN control_totals c ON c.batch_id = f.batch_id
            AND SUBSTR(f.file, 1, LENGTH(c.venue) + 8) = 'venues/' || c.venue || '/'
        WHERE f.batch_id = :batch AND f.stage = 'fills' AND f.accepted > 0 AND c.venue IS NULL
        """,
    ),
    Rule(
        "book_and_custodians_agree",
        "The book agrees with every custodian's statement: no break is open.",
        "WARN",
        """
        SELECT participant, instrument FROM positions
        WHERE batch_id = :batch AND atoms_sign(break_atoms) <> 0
        """,
    ),
    Rule(
        "every_trade_has_two_sides",
        "Every trade was reported alike by both sides, and none was waited for in vain.",
        "WARN",
        """
        SELECT state FROM fill_states
        WHERE batch_id = :batch AND state IN ('UNMATCHED', 'EXPIRED') AND fills > 0
        """,
    ),
    Rule(
        "every_wish_has_its_effect",
        "Both sides of each trade agree whether it may settle in parts, and nobody asks for what cannot be.",
        "WARN",
        "SELECT name FROM frames WHERE batch_id = :batch AND name = 'disagreements' AND rows > 0",
    ),
    Rule(
        "no_give_up_was_rejected",
        "The prime brokers stood for every trade that was given up to them.",
        "WARN",
        """
        SELECT reason FROM fill_states
        WHERE batch_id = :batch AND state = 'REJECTED' AND reason <> 'SELF_TRADE' AND fills > 0
        """,
    ),
)
