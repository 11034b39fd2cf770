#!/usr/bin/env bash
# Everything that the weights of weights/ were made by, in order: six to seven hours on two quiet cores.
#
#   examples/make_weights.sh DATA/buildings DATA/eurosat/EuroSAT_RGB.zip mobilenet_v2.safetensors
#
# Leaves outputs/buildings-0.3.0, outputs/buildings-accurate-0.2.0 and outputs/landuse/model.
# What is finished is kept: the same command goes on after an interruption.
# The READMEs of weights/ tell how the original runs differed, and what each stage brings.
set -euo pipefail
[[ $# == 3 ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
chips=$1 tiles=$2 encoder=$3
here=$(dirname "${BASH_SOURCE[0]}")

# run NAME TASK OVERRIDES...: a run of geotiler train in outputs/NAME, unless it is finished.
run() {
  local name=$1 task=$2 resume=()
  shift 2
  [[ -e outputs/$name/model/card.json ]] && return
  [[ -e outputs/$name/last.ckpt ]] && resume=(--resume)
  geotiler train "$task" "$@" name="$name" ${resume[@]+"${resume[@]}"}
}

# blend FIRST SECOND SHARE NAME: the model that much on the way from one to the other.
blend() {
  [[ -e outputs/$4/card.json ]] ||
    python "$here/blend_models.py" "$1" "$2" --share "$3" -o "outputs/$4"
}

# 0.5 m: from ImageNet, then at 0.3 m, and back.
run buildings buildings data.root="$chips" model.encoder_weights="$encoder" train.select=last
run buildings-accurate buildings-accurate train=buildings-accurate init=outputs/buildings/model \
  data.root="$chips" train.select=last
run strong buildings train=buildings init=outputs/buildings-accurate/model data.root="$chips" \
  transforms=strong data.rendered.share=0.25 train.steps=600 train.steps_per_epoch=150 \
  train.scheduler.warmup_steps=30 train.scheduler.decay_steps=450 train.optimizer.lr=8e-4 \
  train.ema_decay=0.99 train.select=last
blend outputs/buildings/model outputs/strong/model 0.25 buildings-0.2.0

# Other places: strong augmentation, pasted buildings, other rendered scenes.
run elsewhere buildings train=buildings init=outputs/buildings-0.2.0 data.root="$chips" \
  transforms=strong transforms.objects.share=0.4 data.rendered.share=0.28 \
  data.rendered.chips=320 data.rendered.first_seed=5000 train.steps=1800 \
  train.scheduler.decay_steps=1100 train.scheduler.warmup_steps=60 train.optimizer.lr=1.2e-3 \
  train.ema_decay=0.997 train.seed=31 train.select=last
blend outputs/buildings-0.2.0 outputs/elsewhere/model 0.5 buildings-0.3.0

# The same at 0.3 m.
run elsewhere-accurate buildings-accurate train=buildings-accurate \
  init=outputs/buildings-accurate/model data.root="$chips" transforms=strong \
  transforms.objects.share=0.4 data.rendered.share=0.28 data.rendered.chips=320 \
  data.rendered.first_seed=5000 train.steps=1800 train.steps_per_epoch=130 \
  train.scheduler.decay_steps=900 train.scheduler.warmup_steps=60 train.optimizer.lr=1.2e-3 \
  train.ema_decay=0.997 train.seed=32 train.select=last
blend outputs/buildings-accurate/model outputs/elsewhere-accurate/model 0.25 \
  buildings-accurate-0.2.0

run landuse landuse data.root="$tiles" weights="$encoder"
run landuse-longer landuse init=outputs/landuse/model data.root="$tiles" train.mixup=0.2 \
  train.optimizer.weight_decay=0.05 train.steps=2530 train.scheduler.decay_steps=2530 \
  train.scheduler.warmup_steps=100
[[ -e outputs/landuse-0.2.0/card.json ]] ||
  python "$here/classifier_input.py" outputs/landuse-longer/model --input-px 144 \
    -o outputs/landuse-0.2.0
