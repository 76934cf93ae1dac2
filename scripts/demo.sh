#!/usr/bin/env bash
# The demonstration: a DAG turns real flights into synthetic ones. ROWS=all takes all flights.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment all,demo
exec python demo/demo.py
