#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leanpo generate over a file: one file for any batch size and thread count; a run killed at random moments and resumed ends with
# the bytes of one never stopped; lines that are no good are counted and listed; several questions on one video encode it once.
# LEANPO_KILLS: how many kills (default 4; 20 with LEANPO_LONG=1). LEANPO_SEED: repeats the moments of an earlier run.
set -uo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
kills=${LEANPO_KILLS:-$([ -n "${LEANPO_LONG:-}" ] && echo 20 || echo 4)}
RANDOM=${LEANPO_SEED:=$$}
echo "LEANPO_SEED=$LEANPO_SEED LEANPO_KILLS=$kills"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t" || exit 1
failed=0
fail() { echo "FAIL $1"; failed=1; }

"$LEANPO" world --out w --videos 12 --seed 5 --size 112 --heldout 0 >/dev/null 2>&1 || { echo "FAIL world"; exit 1; }
# More ids than the tokenizer has words, as every Qwen checkpoint: drawing them must be impossible.
"$LEANPO" init --out m --tokenizer w/tokenizer.json --config '{"vocab_size":1200}' --seed 1 >/dev/null || { echo "FAIL init"; exit 1; }
# Keys of the user's own, numbers of 15 digits among them, come back as they were.
python3 - <<'P'
import json
lines = [json.loads(l) for l in open("w/qa.train.jsonl")]
for i, o in enumerate(lines):
    o["at"] = [0.1, 1234567.12345678, i]
    if i % 5 == 0:  # no answer is needed, and TRL's name of a question will do
        del o["answer"]
        o["prompt"] = o.pop("question")
open("w/qa.jsonl", "w").write("".join(json.dumps(o) + "\n" for o in lines))
P
base=(--model m --data w/qa.jsonl --temperature 1 --max-tokens 12 --seed 7)
generate() { "$LEANPO" generate "${base[@]}" "$@"; } # later options win

# the same bytes whatever the pace
generate --out whole.jsonl --json >whole.json 2>log || { fail "plain run: $(cat log)"; exit 1; }
for how in "1 1" "1 3" "2 8" "2 1" "1 8"; do
    read -r threads batch <<<"$how"
    OMP_NUM_THREADS=$threads generate --threads $threads --batch-size $batch --out other.jsonl >/dev/null 2>log || fail "batch of $batch: $(cat log)"
    cmp whole.jsonl other.jsonl || fail "answers depend on the batch size or the threads ($how)"
done
generate --seed 8 --out other.jsonl >/dev/null 2>log || fail "another seed: $(cat log)"
cmp -s whole.jsonl other.jsonl && fail "the seed changes nothing"
generate --n 3 --out three.jsonl >/dev/null 2>log || fail "three samples: $(cat log)"
"$LEANPO" tokenize --model m "what is it" >/dev/null || fail "tokenize"
python3 - <<'P' || fail "contents"
import json
qa = [json.loads(l) for l in open("w/qa.jsonl")]
out = [json.loads(l) for l in open("whole.jsonl")]
three = [json.loads(l) for l in open("three.jsonl")]
run = json.load(open("whole.json"))
assert len(out) == len(qa) == run["n"] == run["n_answers"] and run["n_bad"] == 0
for q, o, k in zip(qa, out, three):
    assert o["video"].startswith("/") and o["video"].endswith(q["video"])
    assert o["finish_reason"] in ("stop", "length") and isinstance(o["completion"], str)
    assert len(k["completions"]) == len(k["finish_reason"]) == 3 and "completion" not in k
    assert k["completions"][0] == o["completion"]  # a sample does not depend on how many there are
    q["video"] = o["video"]
    assert {a: o[a] for a in o if a not in ("completion", "finish_reason")} == q, (q, o)
assert len({c for k in three for c in k["completions"]}) > 2 * len(qa)
assert run["n_empty"] == sum(not o["completion"].strip() for o in out)
assert run["n_cut"] == sum(o["finish_reason"] == "length" for o in out) > 0
# A video is decoded once and encoded once, and the rows of its beginning are computed once.
assert run["videos_decoded"] == run["clips_encoded"] == 12 and run["shared_tokens"] > run["prompt_tokens"] / 3, run
# Words alone: ids beyond the tokenizer would show nothing, and 12 of them an empty answer.
assert run["n_empty"] < len(qa) / 4, run
P
grep -q '"at":\[0.1,1234567.12345678,0\]' whole.jsonl || fail "numbers of the line changed: $(head -1 whole.jsonl)"
# A line of the file answered alone, as the plain command does, says the same.
python3 - >one.txt <<'P'
import json
o = json.loads(open("whole.jsonl").readline())
print(o["video"]); print(o.get("question") or o["prompt"])
P
{ read -r video; read -r question; } <one.txt
generate --temperature 0 --limit 1 --out greedy.jsonl >/dev/null 2>log || fail "greedy: $(cat log)"
"$LEANPO" generate --model m --video "$video" --prompt "$question" --max-tokens 12 --json >alone.json 2>/dev/null
python3 -c "import json; a, b = json.load(open('alone.json'))['answer'], json.loads(open('greedy.jsonl').read())['completion']; assert a == b, (a, b)" || fail "one video and a file of one line differ"
# Beside its data the output keeps the paths of the data.
generate --limit 3 --out w/beside.jsonl >/dev/null 2>&1; grep -q '"video":"videos/' w/beside.jsonl || fail "relative paths"

# stop strings: the answer ends before the first of them, and nothing else of the file changes
generate --stop e --stop ' is' --out stop.jsonl >/dev/null 2>log || fail "stop: $(cat log)"
python3 - <<'P' || fail "stop strings"
import json
n = 0
for a, b in zip(open("whole.jsonl"), open("stop.jsonl")):
    a, b = json.loads(a), json.loads(b)
    text = a["completion"]
    end = min((i for i in (text.find("e"), text.find(" is")) if i >= 0), default=len(text))
    assert b["completion"] == text[:end], (a, b)
    n += end < len(text)
    if end < len(text): assert b["finish_reason"] == "stop"
assert n > 3
P

# killed and resumed
for k in a b c d e f; do sed "s/\"id\": *\"/&$k/" w/qa.jsonl; done >w/many.jsonl
base+=(--data w/many.jsonl)
many() { OMP_NUM_THREADS=1 "$LEANPO" generate "${base[@]}" --threads 1 "$@"; }
start=$(date +%s%N)
many --out whole.jsonl --json >whole.json 2>log || { fail "plain run: $(cat log)"; exit 1; }
ms=$((($(date +%s%N) - start) / 1000000))
for ((i = 1; i <= kills; i++)); do
    wait_ms=$(((RANDOM * 32768 + RANDOM) % (ms + 1)))
    # Not through the function: $! must be the program, not a shell around it.
    OMP_NUM_THREADS=1 "$LEANPO" generate "${base[@]}" --threads 1 --batch-size $((i % 7 + 1)) --out killed.jsonl --resume >/dev/null 2>log &
    pid=$!
    sleep "$((wait_ms / 1000)).$(printf %03d $((wait_ms % 1000)))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    echo "kill $i after $wait_ms ms: $(python3 -c "import json; print(json.load(open('killed.jsonl.partial/state.json'))['line'])" 2>/dev/null || echo no) lines$([ -e killed.jsonl ] && echo ", finished")"
    if [ -e killed.jsonl ] && [ $i -lt "$kills" ]; then
        many --out killed.jsonl --resume >/dev/null 2>log || fail "resume: $(cat log)"
        cmp whole.jsonl killed.jsonl || fail "a resumed run differs"
        rm -rf killed.*
    fi
done
if [ -d killed.jsonl.partial ]; then
    many --out killed.jsonl >/dev/null 2>log && fail "a run went over an interrupted one"
    grep -q -- --resume log || fail "unclear: $(cat log)"
    many --out killed.jsonl --resume --stop x >/dev/null 2>log && fail "resumed with other options"
    grep -q 'begun with stop' log || fail "unclear: $(cat log)"
fi
many --out killed.jsonl --resume --json >again.json 2>log || fail "resume: $(cat log)"
cmp whole.jsonl killed.jsonl || fail "a resumed run differs"
python3 -c "
import json
a, b = json.load(open('whole.json')), json.load(open('again.json'))
for k in 'n', 'n_bad', 'n_answers', 'n_empty', 'n_cut', 'n_tokens':
    assert a[k] == b[k], k" || fail "the counts of a resumed run differ"
[ -z "$(ls -d killed.jsonl.partial 2>/dev/null)" ] || fail "leftovers"
# An output that is there: --resume finds it whole, or made by something else; a new run replaces it when it is whole itself.
stat -c %Y.%i killed.jsonl >before
many --out killed.jsonl --resume >/dev/null 2>log || fail "resume of a whole run: $(cat log)"
stat -c %Y.%i killed.jsonl | cmp -s - before || fail "a whole run was done again"
many --out killed.jsonl --resume --seed 1 >/dev/null 2>log && fail "resumed a whole run with another seed"
grep -q 'killed.summary.json: begun with seed' log || fail "unclear: $(cat log)"
# Ctrl-C says how to go on, and the old output is still there.
OMP_NUM_THREADS=1 "$LEANPO" generate "${base[@]}" --threads 1 --batch-size 2 --out killed.jsonl --max-tokens 200 >/dev/null 2>log &
pid=$!
while [ ! -e killed.jsonl.partial/state.json ] && kill -0 $pid 2>/dev/null; do sleep .02; done
sleep .3; kill -INT $pid; wait $pid
[ $? = 130 ] && grep -q -- '--resume' log || fail "Ctrl-C: $(cat log)"
cmp whole.jsonl killed.jsonl || fail "the old output went before the new one was whole"
rm -rf killed.jsonl.partial
many --out killed.jsonl --seed 9 --limit 20 >/dev/null 2>log || fail "over an old output: $(cat log)"
cmp -s whole.jsonl killed.jsonl && fail "the old output is still there"

# bad input. refuse NAME PATTERN OPTIONS...: exit 1, PATTERN in the last line of stderr, no output.
refuse() {
    local name=$1 pattern=$2; shift 2
    rm -rf bad.*
    generate --out bad.jsonl "$@" >/dev/null 2>log
    local got=$?
    if [ $got = 1 ] && tail -1 log | grep -qE -- "$pattern" && [ ! -e bad.jsonl ]; then echo "ok   $name: $(tail -1 log)"
    else fail "$name: exit $got, wanted 1 and /$pattern/: $(tail -2 log)"; fi
}
: >w/empty.jsonl
refuse "empty file" 'empty.jsonl: (it holds nothing|no usable line)' --data w/empty.jsonl
refuse "no such file" 'none.jsonl' --data none.jsonl
refuse "same answer thrice" 'all would be alike' --n 3 --temperature 0
refuse "empty stop string" '--stop.*empty' --stop ''
{ head -20 w/qa.jsonl; echo '{"video": "videos/none.mp4", "question": "what?"}'; echo '{"video": "videos/000000.mp4", "question": " "}'
    echo '{"video": "videos/000000.mp4", "question": "what'; python3 -c "print('{\"video\": \"videos/000000.mp4\", \"question\": \"' + 'what ' * 40000 + '\"}')"
    tail -3 w/qa.jsonl; } >w/bad.jsonl
refuse "bad lines" 'bad.jsonl: 3 of 27 lines are bad.*line 21: .*none.mp4: No such file' --data w/bad.jsonl
refuse "a prompt too long" 'bad.jsonl: 4 of 27 lines are bad, over --max-bad 0.12; at line 24' --data w/bad.jsonl --max-bad .12
generate --data w/bad.jsonl --max-bad .2 --out some.jsonl >some.txt 2>log || fail "quarantine: $(cat log)"
grep -q 'quarantined: 4 ' some.txt || fail "quarantine is not told: $(cat some.txt)"
python3 - <<'P' || fail "quarantine"
import json
bad = [json.loads(l) for l in open("some.quarantine.jsonl")]
assert [b["line"] for b in bad] == [21, 22, 23, 24] and all(b["file"] == "w/bad.jsonl" for b in bad), bad
assert "none.mp4" in bad[0]["reason"] and "question is empty" in bad[1]["reason"] and "context" in bad[3]["reason"], bad
assert len(open("some.jsonl").readlines()) == 23
P
# Empty answers stay in the file, in their places, and are counted.
generate --limit 9 --stop ' ' --stop e --stop a --stop � --out few.jsonl >few.txt 2>log || fail "empty answers: $(cat log)"
[ "$(wc -l <few.jsonl)" = 9 ] && grep -q "^$(grep -c '"completion":""' few.jsonl) empty" few.txt || fail "empty answers: $(cat few.txt)"
grep -q '"completion":""' few.jsonl || fail "no answer was empty"
usage() { "$LEANPO" generate --model m "$@" >/dev/null 2>log; [ $? = 2 ] || fail "not bad usage: $*: $(cat log)"; }
usage --data w/qa.jsonl --out o --prompt Q
usage --data w/qa.jsonl
usage --prompt Q --out o
usage --data w/qa.jsonl --out o --batch x
[ $failed = 0 ] && echo ok
exit $failed
