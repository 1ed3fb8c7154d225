# Phase the end!: source this file and pass on the flags.
MIXOPT_FLAGS=(
  --per-split-data-args-path "$(dirname "${BASH_SOURCE[0]}")/megatron_phase2_the_end_.json"
  --seq-length 128
  --train-samples 8000
  --global-batch-size 16
  --seed 1
  --phase-transition-iterations 400
  --lr 0.0005
  --min-lr 5e-05
  --lr-warmup-samples 6560
  --lr-warmup-init=-0.02
  --lr-decay-samples 8000
  --lr-decay-style WSD
  --lr-wsd-decay-samples 800
  --lr-wsd-decay-style minus_sqrt
  --override-opt-param-scheduler
)
