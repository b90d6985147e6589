#!/usr/bin/env bash
# Build the wheel and install it as users do: per extra, next to litellm[proxy], each in a clean virtualenv; then import it.
#   scripts/smoke_install.sh [extra ...]      default: base postgres s3 gcs prometheus all llmrouter
# pip takes its configuration from the environment. SMOKE_JOBS says how many installs run at once (default: the cores).
set -euo pipefail

tree="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off PIP_QUIET=1
export LITELLM_LOCAL_MODEL_COST_MAP=True
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

extras=("$@")
[ "${#extras[@]}" -gt 0 ] || extras=(base postgres s3 gcs prometheus all llmrouter)

"$python" -m venv --upgrade-deps "$work/build"
"$work/build/bin/python" -m pip wheel --no-deps --wheel-dir "$work/dist" "$tree"
wheel="$(echo "$work"/dist/*.whl)"
"$python" "$tree/scripts/check_wheel.py" "$wheel" "$tree/routeiq_plugin"

# What each extra promises: the modules that are importable once it is installed.
modules() {
  case "$1" in
    base) ;;
    postgres) echo psycopg psycopg_pool ;;
    s3) echo s3fs ;;
    gcs) echo gcsfs ;;
    prometheus) echo prometheus_client ;;
    all) echo psycopg psycopg_pool s3fs gcsfs prometheus_client ;;
    *) echo "no such extra: $1" >&2; return 1 ;;
  esac
}

install() {
  local extra="$1" home="$work/$1" target="$wheel" promised
  [ "$extra" = base ] || target="$wheel[$extra]"
  "$python" -m venv --upgrade-deps "$home"
  if [ "$extra" = llmrouter ]; then # brings torch: that it resolves with litellm[proxy] is what we promise
    "$home/bin/python" -m pip install --dry-run "$target" 'litellm[proxy]'
    echo "llmrouter: resolves with litellm[proxy]"
    return
  fi
  promised="$(modules "$extra")"
  "$home/bin/python" -m pip install "$target" 'litellm[proxy]'
  "$home/bin/python" -m pip check
  cd "$home" # away from the tree: what is imported is what was installed
  "$home/bin/python" - "$home" $promised <<'PYTHON'
import importlib
import pathlib
import sys

home, *promised = sys.argv[1:]
import routeiq_plugin

assert pathlib.Path(routeiq_plugin.__file__).is_relative_to(pathlib.Path(home).resolve()), routeiq_plugin.__file__
for name in ("cli", "gateway", "_plugin", "a2a", "host", "mcp", "operations", "outbound", "reload", "routing", "store"):
    importlib.import_module(f"routeiq_plugin.{name}")
for name in promised:
    importlib.import_module(name)
PYTHON
  "$home/bin/routeiq" --help >/dev/null
  echo "$extra: installed, consistent, imported"
  rm -rf "$home" # a virtualenv is 700 MB
}

jobs="${SMOKE_JOBS:-$(getconf _NPROCESSORS_ONLN)}"
failed=()
running=0
declare -A extra_of
reap() { # one finished install; its output in one piece
  local pid status=0
  wait -n -p pid "${!extra_of[@]}" || status=$?
  cat "$work/${extra_of[$pid]}.log"
  [ "$status" -eq 0 ] || { echo "${extra_of[$pid]}: FAILED ($status)"; failed+=("${extra_of[$pid]}"); }
  unset "extra_of[$pid]"
  running=$((running - 1))
}
for extra in "${extras[@]}"; do
  (set -euo pipefail; install "$extra") >"$work/$extra.log" 2>&1 &
  extra_of[$!]="$extra"
  running=$((running + 1))
  while [ "$running" -ge "$jobs" ]; do reap; done
done
while [ "$running" -gt 0 ]; do reap; done
[ "${#failed[@]}" -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
