#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leanpo pairs: one file for any batch size and thread count; a run killed at random moments and resumed ends with the bytes
# of one that was never stopped; judges, templates and data that are no good end in one clear line, or are counted.
# LEANPO_KILLS: how many kills (default 6; 20 with LEANPO_LONG=1). LEANPO_SEED: repeats the moments of an earlier run.
set -uo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
kills=${LEANPO_KILLS:-$([ -n "${LEANPO_LONG:-}" ] && echo 20 || echo 6)}
RANDOM=${LEANPO_SEED:=$$}
echo "LEANPO_SEED=$LEANPO_SEED LEANPO_KILLS=$kills"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t" || exit 1
failed=0
fail() { echo "FAIL $1"; failed=1; }

"$LEANPO" world --out w --videos 18 --seed 5 --size 112 --heldout 0 >/dev/null 2>&1 || { echo "FAIL world"; exit 1; }
"$LEANPO" init --out m --tokenizer w/tokenizer.json --seed 1 >/dev/null || { echo "FAIL init"; exit 1; }
# A model that knows nothing yet: a gap of any size is kept.
base=(--model m --data w/qa.train.jsonl --templates world --trust chrf --min-gap 0 --max-tokens 8 --seed 7)
pairs() { "$LEANPO" pairs "${base[@]}" "$@"; } # later options win

# the same bytes whatever the pace
OMP_NUM_THREADS=1 pairs --threads 1 --out whole.jsonl --json >whole.json 2>log || { fail "plain run: $(cat log)"; exit 1; }
OMP_NUM_THREADS=2 pairs --threads 2 --batch-size 7 --out seven.jsonl >/dev/null 2>log || fail "batch of 7: $(cat log)"
OMP_NUM_THREADS=1 pairs --threads 1 --batch-size 1 --out one.jsonl >/dev/null 2>log || fail "batch of 1: $(cat log)"
pairs --seed 8 --out other.jsonl >/dev/null 2>log || fail "another seed: $(cat log)"
for f in seven one; do
    cmp whole.jsonl $f.jsonl || fail "pairs depend on the batch size or the threads"
    cmp whole.candidates.jsonl $f.candidates.jsonl || fail "candidates depend on the batch size or the threads"
done
cmp -s whole.jsonl other.jsonl && fail "the seed changes nothing"
python3 - w/qa.train.jsonl whole <<'P' || fail "contents"
import json, sys
qa = [json.loads(l) for l in open(sys.argv[1])]
pairs = [json.loads(l) for l in open(sys.argv[2] + ".jsonl")]
cand = [json.loads(l) for l in open(sys.argv[2] + ".candidates.jsonl")]
run = json.load(open(sys.argv[2] + ".json"))
summary = json.load(open(sys.argv[2] + ".summary.json"))
assert [c["line"] for c in cand] == list(range(1, len(qa) + 1))
kept = [c for c in cand if c["fate"] == "kept"]
assert len(kept) == len(pairs) == run["n_pairs"] == summary["pairs"] > 3
assert sum(run["dropped"].values()) + len(pairs) == len(qa) == run["n_questions"]
assert run["videos_decoded"] == 18, run
by_id = {q["id"]: q for q in qa}
seeds = {}
for p, c in zip(pairs, kept):
    q = by_id[p["id"]]
    assert p["prompt"] == q["question"] and p["answer"] == q["answer"] and p["type"] == q["type"] and "question" not in p
    assert p["video"].startswith("/") and p["video"].endswith(q["video"])
    assert p["trust_chosen"] > p["trust_rejected"] and p["chosen"] != p["rejected"] and p["chosen"].strip()
    assert p["reward_chosen"] < 0 and p["reward_rejected"] < 0 and isinstance(p["grounding"], float)
    assert p["chosen"] == c["chosen"] and p["reward_chosen"] == c["reward_chosen"]
    assert p["augment"].split(",seed=")[0] in ("grey", "noise=40", "shuffle", "reverse"), p["augment"]
    assert seeds.setdefault(p["video"], p["augment"]) == p["augment"]  # one A(V) a video
P
# Rewards and grounding are what `leanpo score` says of the same texts (the augmented view apart).
"$LEANPO" score --model m --data whole.jsonl --out scored.jsonl >/dev/null 2>log || fail "score: $(cat log)"
python3 - <<'P' || fail "rewards"
import json
for a, b in zip(open("whole.jsonl"), open("scored.jsonl")):
    a, b = json.loads(a), json.loads(b)
    for k in "chosen", "rejected":
        assert abs(a["reward_" + k] - b["rewards_" + k]) < 1e-6, (a, b)
P
"$LEANPO" train --model m --data whole.jsonl --objective leanpo --smoothing grounding --max-steps 1 --batch-size 2 \
    --displacement-size 0 --out run >/dev/null 2>log || fail "train on the pairs: $(cat log)"
python3 - <<'P' || fail "smoothing statistics: $(cat run/metrics.jsonl)"
import json
m = {k.split("/")[1]: v for k, v in json.loads(open("run/metrics.jsonl").readline()).items() if k.startswith("smoothing/")}
assert 0 < m["eps_min"] < m["eps_mean"] < m["eps_max"] <= .3 and 0 < m["eps_std"] < m["eps_max"] - m["eps_min"], m
P
# Rounds: the policy makes the pairs it is trained on next; a finished round is not done again.
twice=(train --rounds 2 --model m --data w/qa.train.jsonl --objective leanpo --max-steps 1 --batch-size 2 --accumulation 1 --displacement-size 0
    --pairs-trust chrf --pairs-templates world --pairs-min-gap 0 --pairs-max-tokens 4 --pairs-limit 16 --out rounds)
rounds() { "$LEANPO" "${twice[@]}" "$@" >/dev/null 2>log; }
rounds || fail "rounds: $(cat log)"
cp rounds/rounds.json once.json
cp -p rounds/round-1/pairs.jsonl first.jsonl
rounds && fail "rounds over rounds"
grep -q 'holds rounds already' log && ! [ rounds/round-1/pairs.jsonl -nt first.jsonl ] || fail "rounds over rounds: $(cat log)"
rounds --resume && cmp once.json rounds/rounds.json || fail "rounds resumed: $(cat log)"
# Of a finished round no video is decoded again; with other options it is none.
mv w/videos gone; mkdir w/videos; for f in gone/*; do : >"w/videos/${f##*/}"; done
rounds --resume && cmp once.json rounds/rounds.json || fail "finished rounds resumed: $(cat log)"
rm -r w/videos; mv gone w/videos
rounds --resume --learning-rate 1 && fail "rounds resumed with another learning rate"
grep -q 'round 1: .*learning_rate' log || fail "unclear: $(cat log)"
[ -d rounds/round-1/checkpoints/step-1 ] && [ -d rounds/round-2/checkpoints/step-1 ] || fail "a policy of a round is gone"
cmp -s rounds/round-1/pairs.jsonl rounds/round-2/pairs.jsonl && fail "both rounds drew the same answers"
# Killed anywhere, in pairs or in training, of the first round or the second: the same policies in the end.
for ((i = 1; i <= 40; i++)); do
    [ -n "${LEANPO_LONG:-}" ] || break
    "$LEANPO" "${twice[@]}" --max-steps 3 --save-steps 1 --out killed-rounds --resume >/dev/null 2>log &
    pid=$!
    sleep ".$((RANDOM % 900 + 100))"
    if kill -9 $pid 2>/dev/null; then
        wait $pid 2>/dev/null
        [ $i -lt 40 ] || fail "forty kills, and the rounds never end"
        continue
    fi
    wait $pid || fail "rounds after a kill: $(cat log)"
    echo "rounds: $((i - 1)) kills"
    rounds --max-steps 3 --save-steps 1 --out whole-rounds || fail "rounds: $(cat log)"
    for f in round-1/pairs.jsonl round-2/pairs.jsonl round-2/metrics.jsonl round-2/checkpoints/step-3/model.safetensors; do
        cmp whole-rounds/$f killed-rounds/$f || fail "killed rounds differ"
    done
    break
done
# Beside its data the output keeps the paths of the data.
pairs --limit 16 --out w/beside.jsonl >/dev/null 2>&1; grep -q '"video":"videos/' w/beside.jsonl || fail "relative paths"

# killed and resumed: three times the lines, so that a run is some time under way
for k in a b c; do sed "s/\"id\": *\"/&$k/" w/qa.train.jsonl; done >w/many.jsonl
base+=(--data w/many.jsonl --max-tokens 4)
many() { OMP_NUM_THREADS=1 "$LEANPO" pairs "${base[@]}" --threads 1 "$@"; }
start=$(date +%s%N)
many --out whole.jsonl --json >whole.json 2>log || { fail "plain run: $(cat log)"; exit 1; }
ms=$((($(date +%s%N) - start) / 1000000))
same_as_whole() { cmp whole.jsonl killed.jsonl && cmp whole.candidates.jsonl killed.candidates.jsonl || fail "a resumed run differs"; }
for ((i = 1; i <= kills; i++)); do
    wait_ms=$(((RANDOM * 32768 + RANDOM) % (ms + 1)))
    # Not through the function: $! must be the program, not a shell around it.
    OMP_NUM_THREADS=1 "$LEANPO" pairs "${base[@]}" --threads 1 --batch-size $((i % 7 + 1)) --out killed.jsonl --resume >/dev/null 2>log &
    pid=$!
    sleep "$((wait_ms / 1000)).$(printf %03d $((wait_ms % 1000)))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    echo "kill $i after $wait_ms ms: $(python3 -c "import json; print(json.load(open('killed.jsonl.partial/state.json'))['line'])" 2>/dev/null || echo no) lines$([ -e killed.jsonl ] && echo ", finished")"
    if [ -e killed.jsonl ] && [ $i -lt "$kills" ]; then
        many --out killed.jsonl --resume >/dev/null 2>log || fail "resume: $(cat log)"
        same_as_whole
        rm -rf killed.*
    fi
done
if [ -d killed.jsonl.partial ]; then
    many --out killed.jsonl >/dev/null 2>log && fail "a run went over an interrupted one"
    grep -q -- --resume log || fail "unclear: $(cat log)"
    many --out killed.jsonl --resume --max-tokens 9 >/dev/null 2>log && fail "resumed with other options"
    grep -q max_tokens log || fail "unclear: $(cat log)"
fi
many --out killed.jsonl --resume --json >again.json 2>log || fail "resume: $(cat log)"
same_as_whole
python3 -c "
import json
a, b = json.load(open('whole.json')), json.load(open('again.json'))
for k in 'n_questions', 'n_pairs', 'dropped', 'trust_chosen', 'reward_chosen', 'grounding', 'rho':
    assert a[k] == b[k], k" || fail "the summary of a resumed run differs"
[ -z "$(ls -d killed.jsonl.partial 2>/dev/null)" ] || fail "leftovers"
# Ctrl-C says how to go on.
OMP_NUM_THREADS=1 "$LEANPO" pairs "${base[@]}" --threads 1 --batch-size 4 --out killed.jsonl --seed 9 >/dev/null 2>log &
pid=$!
while [ ! -e killed.jsonl.partial/state.json ] && kill -0 $pid 2>/dev/null; do sleep .02; done
sleep .3; kill -INT $pid; wait $pid
[ $? = 130 ] && grep -q -- '--resume' log || fail "Ctrl-C: $(cat log)"

good='while read -r l; do id=${l#*:}; echo "{\"id\":${id%%,*},\"score\":0.5}"; done'
# Ctrl-C does not wait for a judge that hangs.
"$LEANPO" pairs "${base[@]}" --out stuck.jsonl --judge-cmd 'sleep 60' --judge-timeout 60 >/dev/null 2>log &
pid=$!
sleep 1; kill -INT $pid; start=$SECONDS; wait $pid
[ $? = 130 ] && [ $((SECONDS - start)) -lt 10 ] || fail "Ctrl-C with a judge that hangs: $((SECONDS - start)) s, $(cat log)"

# bad input. refuse NAME PATTERN OPTIONS...: exit 1, PATTERN in the last line of stderr, no output.
refuse() {
    local name=$1 pattern=$2; shift 2
    rm -rf bad.*
    pairs --out bad.jsonl "$@" >/dev/null 2>log
    local got=$?
    if [ $got = 1 ] && tail -1 log | grep -qE -- "$pattern" && [ ! -e bad.jsonl ]; then echo "ok   $name: $(tail -1 log)"
    else fail "$name: exit $got, wanted 1 and /$pattern/: $(tail -2 log)"; fi
}
mkdir tpl; echo '{question}' >tpl/prior.txt; echo '{question} {draft} {answer}' >tpl/reflection.txt
refuse "template without its slot" 'prior.txt.*\{answer\}' --templates tpl
refuse "all filtered out" 'no pair is left.*gap of at most 5' --min-gap 5 --limit 16
[ "$(ls -d bad.*)" = bad.candidates.jsonl ] && [ "$(wc -l <bad.candidates.jsonl)" = 16 ] || fail "its answers are not there to be looked at: $(ls -d bad.*)"
refuse "winner and loser identical" 'no pair is left.* 16 with winner and loser alike' --limit 16 --no-prior --no-reflection --losers plain \
    --temperature 0 --temperature-rejected 0
refuse "judge cannot run" 'no-such-judge.*exit status 127' --limit 16 --judge-cmd no-such-judge
refuse "judge hangs" 'no usable reply within 0.1 s' --limit 16 --judge-cmd 'cat >/dev/null' --judge-timeout .1 --judge-retries 0
[ -z "$(ls -d bad.* 2>/dev/null)" ] || fail "a run that did nothing left $(ls -d bad.*)"
refuse "judge dies on the way" 'budget of 50 calls is spent; --resume' --limit 48 --judge-cmd "$good" --judge-budget 50
[ -d bad.jsonl.partial ] || fail "the lines before the judge's end are lost"
refuse "judge lies" 'certainly, which is no JSON object' --limit 16 --judge-cmd 'while read -r l; do echo certainly; done' --judge-retries 9
refuse "budget" "budget of 3 calls" --limit 16 --judge-cmd "$good" --judge-budget 3
refuse "key" "NO_SUCH_KEY" --limit 16 --judge-url http://127.0.0.1:9/ --judge-key-env NO_SUCH_KEY
if grep -q "not installed" log; then echo "skip judge url: libcurl is not installed"; else
    refuse "judge url refused" '127.0.0.1:9.*onnect' --limit 16 --judge-url http://127.0.0.1:9/ --judge-retries 0
fi
refuse "the output is the data" 'would replace the data file' --data w/qa.train.jsonl --out w/qa.train.jsonl
refuse "the output is a folder" 'w is a folder' --out w
# A judge who drops one line in three: the work goes on, and it is counted.
judge='n=0; while read -r l; do id=${l#*:}; id=${id%%,*}; n=$((n+1)); c=${l##*\"candidate\":}; if [ $((n % 3)) = 0 ]; then echo nonsense; else echo "{\"id\":$id,\"score\":0.${#c}}"; fi; done'
pairs --limit 32 --judge-cmd "$judge" --judge-retries 0 --judge-parallel 1 --out judged.jsonl --json >judged.json 2>log || fail "a careless judge: $(cat log)"
python3 -c "
import json
r = json.load(open('judged.json'))
assert r['dropped']['judge'] > 3 and r['judge']['bad_replies'] == r['judge']['failed'] > 3 and r['n_pairs'] > 0, r" || fail "a careless judge"
# Lines that are no good are quarantined, over --max-bad they stop the run.
{ head -20 w/qa.train.jsonl; echo '{"video": "videos/none.mp4", "question": "what?", "answer": "red"}'; echo '{"question": "no video", "answer": "x"}'; } >w/bad.jsonl
refuse "bad lines" 'bad.jsonl: 2 of 22 lines are bad.*line 21: .*none.mp4: No such file' --data w/bad.jsonl
pairs --data w/bad.jsonl --max-bad .2 --out some.jsonl >/dev/null 2>log || fail "quarantine: $(cat log)"
[ "$(wc -l <some.quarantine.jsonl)" = 2 ] && grep -q 'none.mp4' some.quarantine.jsonl || fail "quarantine"
[ $failed = 0 ] && echo ok
exit $failed
