from ptm.config.model_ref import ModelRef
from ptm.config.spec import ModelSpec, ShapeSpec, TeacherSpec


def test_a_model_is_referred_to_with_all_that_a_loader_needs():
    shape = ShapeSpec(layers=2)
    spec = ModelSpec(
        name="new:bert", tokenizer="train", vocabulary=100, shape=shape, weights="w.pth", layers=(0,)
    )
    ref = spec.ref()
    assert (ref.role, ref.name, ref.weights, ref.layers) == ("model", "new:bert", "w.pth", (0,))
    assert (ref.tokenizer, ref.vocabulary, ref.shape, ref.labels) == ("train", 100, shape, None)
    assert ref.where == "model 'new:bert'" and ref.key("weights") == "model.weights"


def test_every_teacher_of_a_run_is_referred_to_the_first_with_its_weights():
    spec = TeacherSpec(
        name="a", weights="w.pth", revision="main", width=4, labels=("x", "y"), others=("b", "c")
    )
    first, *others = spec.refs()
    assert first == ModelRef(
        role="teacher", name="a", weights="w.pth", revision="main", width=4, labels=("x", "y")
    )
    assert others == [ModelRef(role="teacher", name=name, labels=("x", "y")) for name in ("b", "c")]
    assert first.where == "teacher 'a'" and first.key("width") == "teacher.width"
