# Phase base: source this file and pass on the flags.
MIXOPT_FLAGS=(
  --per-split-data-args-path "$(dirname "${BASH_SOURCE[0]}")/megatron_phase1_base.json"
  --seq-length 128
  --train-samples 8000
  --global-batch-size 16
  --seed 1
  --phase-transition-iterations 400
  --lr 0.001
  --min-lr 0.0
  --lr-warmup-samples 400
  --lr-warmup-init 0.0
  --lr-decay-samples 8000
  --lr-decay-style WSD
  --lr-wsd-decay-samples 1600
  --lr-wsd-decay-style linear
)
