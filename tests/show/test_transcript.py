from trajnb.show.transcript import rollout_html


def test_turns_stand_side_by_side_and_all_text_is_escaped():
    line = {
        "turns": [True, False],
        "gold": [["[ls()]"], [], ["[cat(file_name='<b>')]"]],
        "calls": [
            {"turn": 0, "text": "API-Request: [ls()]", "response": "<i>a</i>", "failed": False},
            {"turn": 2, "text": "<script>", "response": "Error", "failed": True},
        ],
    }
    page = rollout_html(line, "d < e")
    assert "<script>" not in page and "<i>" not in page and "&lt;script&gt;" in page and "d &lt; e" in page
    first, second, third = page.split("<tr><td>")[1:]
    assert first.startswith("1 ✓") and second.startswith("2 <") and third.startswith("3 ✗")
    assert second.count("(no call)") == 2 and 'class="got failed"' in third
