"""Runs one flow after the other in one process, as its runner's processes do: ``python mistakes.py`` in a clone.

Standard input holds pairs of a flow's name and its parameters as JSON, standard output the ids of the runs.
"""

import json
import sys

from flows.evaluate_model import evaluate_model
from flows.experiment import experiment
from flows.promote import promote
from flows.sweep import sweep

FLOWS = {flow.name: flow for flow in (experiment, sweep, evaluate_model, promote)}
ids = []
for name, params in json.load(sys.stdin):
    state = FLOWS[name](params, return_state=True)
    ids.append(str(state.state_details.flow_run_id))
sys.stdout.write(json.dumps(ids))
