from ptm.report.exports import export_table


def test_14_02_a_column_an_export_and_nothing_of_what_is_broken():
    side = {
        "metrics": {"accuracy": 0.91},
        "bytes": 90_000_000,
        "latency_ms": {"1": {"median": 2.0, "p95": 3.0}},
    }
    record = {"before": side, "after": side | {"bytes": 23_000_000}, "threads": 1}
    record["comparison"] = {"metric": "accuracy", "equal_answers": 0.99, "largest_difference": 0.2}
    assert export_table({"e": record, "broken": [1]})[0] == ["model", "e", "broken"]
    assert export_table({"e": record})[1][0] == ["accuracy", "0.9100", "0.9100"]
    assert ["On disk", "90 MB", "23 MB"] in export_table({"e": record})[1]
    assert ["Latency, batch 1: median, p95", "2 ms, 3 ms", "2 ms, 3 ms"] in export_table({"e": record})[1]
    assert export_table({}) == ([], [])
