#!/usr/bin/env bash
# What strangers feed us ends in one clear line naming the file and the place, exit status 1, and nothing half written.
set -uo pipefail
cd "${1:-.}"
tmp=$(mktemp -d); trap 'umount "$tmp/full" 2>/dev/null; rm -rf "$tmp"' EXIT
passed=0 failed=0
# refuse NAME EXIT PATTERN COMMAND...: the command ends with EXIT and says PATTERN in one line on stderr.
refuse() {
    local name=$1 code=$2 pattern=$3; shift 3
    "$@" >"$tmp/stdout" 2>"$tmp/stderr"
    local got=$?
    if [ $got = "$code" ] && grep -qiE -- "$pattern" "$tmp/stderr" && ! grep -q 'runtime error\|AddressSanitizer' "$tmp/stderr"; then
        passed=$((passed + 1)); echo "ok   $name: $(tail -1 "$tmp/stderr")"
    else
        failed=$((failed + 1)); echo "FAIL $name: exit $got, wanted $code and /$pattern/"; sed 's/^/     /' "$tmp/stderr"
    fi
}
nothing_left() { # no .tmp beside $1, nor $1 itself
    if compgen -G "$1*" >/dev/null; then failed=$((failed + 1)); echo "FAIL left behind: $(compgen -G "$1*")"; else passed=$((passed + 1)); fi
}

w=$tmp/w m=$tmp/m
"$LEANPO" world --out "$w" --videos 12 --size 64 --heldout .25 >/dev/null 2>&1 || { echo "FAIL world"; exit 1; }
"$LEANPO" init --out "$m" --tokenizer "$w/tokenizer.json" >/dev/null || { echo "FAIL init"; exit 1; }
v=$w/videos/000000.mp4 out=$tmp/o.safetensors

# videos
refuse "missing video" 1 "none.mp4.*no such file" "$LEANPO" prep "$tmp/none.mp4" --out "$out"
: >"$tmp/empty.mp4";                 refuse "empty video" 1 "empty.mp4" "$LEANPO" prep "$tmp/empty.mp4" --out "$out"
head -c 900 "$v" >"$tmp/cut.mp4";    refuse "truncated video" 1 "cut.mp4" "$LEANPO" prep "$tmp/cut.mp4" --out "$out"
echo "hello, not a film" >"$tmp/text.mp4"; refuse "renamed text" 1 "text.mp4" "$LEANPO" prep "$tmp/text.mp4" --out "$out"
printf '#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n' >"$tmp/list.m3u8"
refuse "playlist to http" 1 "list.m3u8" "$LEANPO" prep "$tmp/list.m3u8" --out "$out"
cp "$tmp/list.m3u8" "$tmp/list.mp4"; refuse "playlist named mp4" 1 "list.mp4" "$LEANPO" prep "$tmp/list.mp4" --out "$out"
python3 - "$tmp" <<'P'
import struct, sys
t = sys.argv[1]
open(t + "/sound.wav", "wb").write(b"RIFF" + struct.pack("<I", 36 + 1600) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", 1600) + b"\0" * 1600)
# AVI with a 40,000 x 40,000 raw stream header
strf = struct.pack("<IiiHHIIiiII", 40, 40000, 40000, 1, 24, 0, 0, 0, 0, 0, 0)
strh = b"vids" + b"DIB " + struct.pack("<IHHIIIIIIIIhhhh", 0, 0, 0, 0, 1, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0)
def ck(i, d): return i + struct.pack("<I", len(d)) + d + b"\0" * (len(d) & 1)
avih = struct.pack("<IIIIIIIIIIIIII", 125000, 0, 0, 0x10, 8, 0, 1, 0, 40000, 40000, 0, 0, 0, 0)
hdrl = ck(b"LIST", b"hdrl" + ck(b"avih", avih) + ck(b"LIST", b"strl" + ck(b"strh", strh) + ck(b"strf", strf)))
body = b"AVI " + hdrl + ck(b"LIST", b"movi" + b"".join(ck(b"00db", b"\0" * 64) for _ in range(8)))
open(t + "/huge.avi", "wb").write(ck(b"RIFF", body))
P
refuse "no video stream" 1 "sound.wav.*video" "$LEANPO" prep "$tmp/sound.wav" --out "$out"
refuse "40000x40000 header" 1 "huge.avi.*40000" "$LEANPO" prep "$tmp/huge.avi" --out "$out"
nothing_left "$out"

# checkpoints
model_with() { rm -rf "$tmp/bad"; cp -r "$m" "$tmp/bad"; }
edit() { python3 - "$tmp/bad" "$1" <<'P'
import json, struct, sys
d, what = sys.argv[1:]
p = d + "/model.safetensors"
b = open(p, "rb").read()
n = struct.unpack("<Q", b[:8])[0]
h = json.loads(b[8:8 + n]); body = b[8 + n:]
names = sorted((k for k in h if k != "__metadata__"), key=lambda k: h[k]["data_offsets"][0])
if what == "overlap": h[names[1]]["data_offsets"][0] -= 4; h[names[1]]["data_offsets"][1] -= 4
if what == "range": h[names[-1]]["data_offsets"] = [len(body), len(body) + h[names[-1]]["data_offsets"][1] - h[names[-1]]["data_offsets"][0]]
if what == "huge": h[names[-1]]["data_offsets"] = [2**63, 2**63 + 4]
if what == "missing": body = body[:h[names[-1]]["data_offsets"][0]]; del h[names[-1]]
s = json.dumps(h).encode()
head = struct.pack("<Q", len(s)) + s
if what == "lie": head = struct.pack("<Q", 2**40) + s
open(p, "wb").write(head + body)
P
}
for k in overlap range huge lie missing; do
    model_with; edit $k
    refuse "safetensors: $k" 1 "model.safetensors|tensor" "$LEANPO" eval --model "$tmp/bad" --data "$w/qa.heldout.jsonl"
done
model_with; head -c 100 "$m/model.safetensors" >"$tmp/bad/model.safetensors"
refuse "safetensors truncated" 1 "model.safetensors" "$LEANPO" eval --model "$tmp/bad" --data "$w/qa.heldout.jsonl"
model_with; python3 -c "import json,sys;p=sys.argv[1];c=json.load(open(p));c.pop('num_attention_heads');c.pop('vision_config');json.dump(c,open(p,'w'))" "$tmp/bad/config.json"
refuse "config lacks keys" 1 "config.json|tensor|shape" "$LEANPO" eval --model "$tmp/bad" --data "$w/qa.heldout.jsonl"
model_with; python3 -c "import json,sys;p=sys.argv[1];c=json.load(open(p));c['hidden_size']=10**12;json.dump(c,open(p,'w'))" "$tmp/bad/config.json"
refuse "absurd size" 1 "hidden_size" "$LEANPO" eval --model "$tmp/bad" --data "$w/qa.heldout.jsonl"
model_with; rm "$tmp/bad/config.json"
refuse "no config" 1 "config.json" "$LEANPO" eval --model "$tmp/bad" --data "$w/qa.heldout.jsonl"
model_with; head -c 2000 "$m/tokenizer.json" >"$tmp/bad/tokenizer.json"
refuse "tokenizer truncated" 1 "tokenizer.json" "$LEANPO" eval --model "$tmp/bad" --data "$w/qa.heldout.jsonl"

# data
{ cat "$w/qa.heldout.jsonl"; echo '{"video": "videos/000000.mp4", "question": "what'; } >"$w/badline.jsonl"
refuse "bad line over --max-bad" 1 "badline.jsonl.*line" "$LEANPO" train --model "$m" --data "$w/badline.jsonl" --objective sft --max-steps 1 --out "$tmp/run1"
"$LEANPO" train --model "$m" --data "$w/badline.jsonl" --objective sft --max-steps 1 --max-bad .5 --out "$tmp/run2" >"$tmp/stdout" 2>"$tmp/stderr"
if [ $? = 0 ] && [ "$(wc -l <"$tmp/run2/quarantine.jsonl")" = 1 ]; then passed=$((passed + 1)); echo "ok   bad line quarantined"; else
    failed=$((failed + 1)); echo "FAIL quarantine"; cat "$tmp/stderr"; fi
python3 - "$w/qa.heldout.jsonl" "$w/long.jsonl" <<'P'
import json, sys
l = [json.loads(x) for x in open(sys.argv[1])]
l[0]["answer"] = "red bar " * 40000
open(sys.argv[2], "w").write("".join(json.dumps(x) + "\n" for x in l))
P
refuse "response over the context" 1 "long.jsonl.*(context|tokens)" "$LEANPO" train --model "$m" --data "$w/long.jsonl" --objective sft --max-steps 1 --out "$tmp/run3"

# requests that cannot be met (NaN, Ctrl-C and damaged checkpoints: train_faults.sh and resume.sh)
refuse "objective the data cannot feed" 1 "objective needs" "$LEANPO" train --model "$m" --data "$w/qa.train.jsonl" --objective grpo --max-steps 1 --out "$tmp/run4"
refuse "unknown objective" 1 "leanpoo" "$LEANPO" train --model "$m" --data "$w/qa.train.jsonl" --objective leanpoo --max-steps 1 --out "$tmp/run5"
refuse "a place nobody answers to" 1 "tpu" "$LEANPO" train --model "$m" --data "$w/qa.train.jsonl" --objective sft --max-steps 1 --place preprocess=tpu --out "$tmp/run6"
refuse "unknown option" 2 "did you mean|unknown" "$LEANPO" eval --modell "$m"

# disks
mkdir "$tmp/full"
if mount -t tmpfs -o size=2m tmpfs "$tmp/full" 2>/dev/null; then
    refuse "full disk" 1 "No space left" "$LEANPO" train --model "$m" --data "$w/qa.train.jsonl" --objective sft --max-steps 2 --out "$tmp/full/run"
    if ls -d "$tmp"/full/run/checkpoints/step-? >/dev/null 2>&1; then failed=$((failed + 1)); echo "FAIL a half checkpoint on a full disk"; else passed=$((passed + 1)); fi
    mount -o remount,ro "$tmp/full" && refuse "read-only folder" 1 "read-only" "$LEANPO" score --model "$m" --data "$w/qa.heldout.jsonl" --out "$tmp/full/s.jsonl"
else
    echo "skip full disk, read-only folder: mounting a tmpfs needs root"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
