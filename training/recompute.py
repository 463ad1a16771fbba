"""Recomputes the decision of `auto` from receipts (one JSON document a line, on standard input or in files).

    curl -s $BASE/v1/receipts/rcpt_… -H "Authorization: Bearer $KEY" | python3 training/recompute.py

Among the models that no filter took out, those whose score reaches the floor compete by expected cost; costs within 3 %
of the least are alike. Where none reaches it, the best score wins. Exit status 1 if a decision does not follow.
"""

import fileinput
import json
import sys
from decimal import Decimal

TIE = Decimal("1.03")


def expected(receipt):
    """The models that the decision may have named first."""
    passed = [
        line for line in receipt["candidates"]
        if line.get("filtered_out_by") in (None, "too_many_candidates") and "est_cost_usd" in line
    ]
    floor = receipt["routing"]["floor"]
    reaching = [line for line in passed if line.get("score", -1) >= floor]
    if reaching:
        least = min(Decimal(line["est_cost_usd"]) for line in reaching)
        return {line["model_id"] for line in reaching if Decimal(line["est_cost_usd"]) <= least * TIE}
    scored = [line for line in passed if "score" in line]
    if scored:
        best = max(line["score"] for line in scored)
        return {line["model_id"] for line in scored if line["score"] == best}
    return {line["model_id"] for line in passed}


def main():
    wrong = 0
    for text in fileinput.input():
        receipt = json.loads(text)
        if receipt["decision"]["strategy"] != "auto":
            continue
        chain = receipt["decision"]["fallback_chain"]
        # A host that was failing at the time goes behind the others.
        failing = {line["model_id"] for line in receipt["candidates"] if "failing_now" in line.get("reasons", [])}
        follows = bool(chain) and (chain[0] in expected(receipt) or bool(failing))
        wrong += not follows
        print(receipt["receipt_id"], chain[:1], "follows" if follows else "DOES NOT FOLLOW")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
