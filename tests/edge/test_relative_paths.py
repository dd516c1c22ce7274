"""A path that somebody types means the folder in which it is typed, also where another process opens it."""

from __future__ import annotations

import grpc

from edge.conftest import MODEL_NAME, Edge
from edge.films import film
from emflow_proto import messages as m
from emflow_proto.service import AgentStub


def test_a_relative_model_folder_is_that_of_the_component_not_of_the_agent(edge: Edge) -> None:
    elsewhere = edge.folder / "elsewhere"
    elsewhere.mkdir()
    edge.agent(cwd=elsewhere)
    component = edge.run(film(edge.folder / "grey.avi", 128), "-c", "./model/", "--results", "1", cwd=edge.folder)
    assert edge.results(component, 1)[0]["model_name"] == MODEL_NAME


def test_the_agent_says_in_which_folder_it_looked_for_a_relative_path(edge: Edge) -> None:
    elsewhere = edge.folder / "elsewhere"
    elsewhere.mkdir()
    edge.agent(cwd=elsewhere)
    with grpc.insecure_channel(f"unix:{edge.socket}") as channel:
        answer = AgentStub(channel).LoadModel.future(m.LoadModelRequest(url="model", name="scenes"))
        assert answer.code() == grpc.StatusCode.NOT_FOUND
        assert answer.details() == (
            f"'model' does not exist in {elsewhere}, where this agent was started; send an absolute path"
        )
