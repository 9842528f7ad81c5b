"""The reader of COCO files: typed records, bounded to what is wanted, faults named with record, field and remedy."""

import json

import pytest

from pbrec_hf.data.coco import read_coco
from pbrec_hf.images.segmentation import mask_to_rle, rasterise

SQUARE = [10, 10, 40, 10, 40, 30, 10, 30]


def content(**changes):
    """A file with one image, one annotation and one category; `changes` are merged into image and annotation."""
    image = {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}
    annotation = {"id": 5, "image_id": 1, "category_id": 18, "bbox": [10, 10, 30, 20], "segmentation": [SQUARE]}
    return {
        "images": [image | changes.get("image", {})],
        "annotations": [annotation | changes.get("annotation", {})],
        "categories": [{"id": 18, "name": "dog"}],
    }


@pytest.fixture
def write(tmp_path):
    def write_file(value):
        path = tmp_path / "instances.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return write_file


def without(value, kind, field):
    del value[kind][0][field]
    return value


def test_records_are_typed_and_boxes_are_corners(write):
    file = read_coco(write(content(annotation={"iscrowd": 1}, image={"annotated": False, "partial_categories": True})))
    (annotation,) = file.annotations
    assert annotation.bbox == (10, 10, 40, 30) and annotation.area == 600 and annotation.iscrowd
    assert [list(part) for part in annotation.segmentation] == [SQUARE]
    assert file.category_of(annotation) == "dog"
    image = file.images[1]
    assert image.size == (48, 64) and not image.annotated and image.partial_categories


def test_what_a_file_leaves_out_has_a_default(write):
    value = without(without(content(), "annotations", "id"), "annotations", "segmentation")
    file = read_coco(write(without(without(value, "images", "width"), "images", "height")))
    (annotation,) = file.annotations
    assert (annotation.id, annotation.segmentation, annotation.iscrowd) == (None, None, False)
    assert file.images[1].annotated and not file.images[1].partial_categories
    with pytest.raises(ValueError, match=r"Image 1 \(a.jpg\) has no 'height'"):
        _ = file.images[1].size


@pytest.mark.parametrize("kind", ["polygons", "flat", "rle", "list of rle"])
def test_a_missing_box_is_that_of_the_mask(write, kind):
    mask = rasterise([SQUARE], 48, 64)
    segmentation = {
        "polygons": [SQUARE],
        "flat": SQUARE,
        "rle": mask_to_rle(mask),
        "list of rle": [mask_to_rle(mask)],
    }[kind]
    value = content(annotation={"segmentation": segmentation, "bbox": None})
    (annotation,) = read_coco(write(value)).annotations
    assert annotation.bbox == (10, 10, 40, 30)
    assert rasterise(annotation.segmentation, 48, 64).equal(mask)


@pytest.mark.parametrize("nothing", [[[1, 2, 3, 4]], [3], []])
def test_parts_that_cover_nothing_are_dropped(write, nothing):
    (annotation,) = read_coco(write(content(annotation={"segmentation": [[1, 2, 3, 4], SQUARE]}))).annotations
    assert [list(part) for part in annotation.segmentation] == [SQUARE]
    (annotation,) = read_coco(write(content(annotation={"segmentation": nothing}))).annotations
    assert annotation.segmentation is None


def test_only_wanted_annotations_are_kept_and_checked(write):
    value = content()
    value["annotations"] += [
        {"id": "8756_2", "image_id": 1, "bbox": [0, 0, 5, 5]},
        {"id": 7, "image_id": 1, "bbox": 3},
    ]
    assert [one.id for one in read_coco(write(value), wanted={"8756_2"}).annotations] == ["8756_2"]
    assert read_coco(write(value), wanted=()).annotations == []


def test_ids_of_text_stay_text(write):
    value = content(image={"id": "0017"}, annotation={"id": "5", "image_id": "0017", "category_id": "18"})
    file = read_coco(write(value))
    ((image, annotations),) = file.annotated_images()
    assert image.id == "0017" and [one.id for one in annotations] == ["5"]
    assert file.category_of(annotations[0]) == "dog"


@pytest.mark.parametrize("exclude", [{1}, {"1"}])
@pytest.mark.parametrize("image_id", [1, "1"])
def test_images_are_excluded_however_their_id_is_written(write, exclude, image_id):
    file = read_coco(write(content(image={"id": image_id}, annotation={"image_id": image_id})))
    assert file.annotated_images(exclude) == [] and len(file.annotated_images({2})) == 1


def test_an_image_that_nobody_annotated_is_not_one_without_objects(write):
    value = content()
    value["images"] += [{"id": 2, "file_name": "b.jpg"}, {"id": 3, "file_name": "c.jpg", "annotated": False}]
    found = read_coco(write(value)).annotated_images()
    assert [(image.id, len(annotations)) for image, annotations in found] == [(1, 1), (2, 0)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (without(content(), "annotations", "image_id"), r"annotation 5: it has no 'image_id'; add it"),
        (without(content(annotation={"bbox": None}), "annotations", "segmentation"), "annotation 5: it has no 'bbox'"),
        (content(annotation={"bbox": [1, 2, 3]}), r"annotation 5: bbox=\[1, 2, 3\]: give a list of 4"),
        (content(annotation={"bbox": [1, 2, -3, 4]}), "annotation 5: bbox=.*cannot be negative"),
        (content(annotation={"segmentation": "x"}), "annotation 5: segmentation='x': give polygons"),
        (content(annotation={"segmentation": [["x"] * 6]}), "annotation 5: segmentation="),
        (content(annotation={"category_id": "dog"}), "annotation 5: category_id='dog': give a whole number"),
        (content(annotation={"image_id": [1]}), r"annotation 5: image_id=\[1\]: give a number or a text"),
        (without(content(), "images", "file_name"), "image 1: it has no 'file_name'; add it"),
        (without(content(), "images", "id"), "image None: it has no 'id'; add it"),
        (content(image={"width": 6.5}), "image 1: width=6.5: give a whole number"),
        (content(image={"width": 0}), "image 1: width=0: give a number of pixels"),
        (content(image={"id": [1]}, annotation={"image_id": 1}), r"image \[1\]: id=\[1\]: give a number or a text"),
        (content(image={"file_name": "a\ud800.jpg"}), r"image 1: file_name='a\\ud800.jpg': give a text without"),
        (content(image={"file_name": 7}), "image 1: file_name=7: give a text"),
        (content(image={"annotated": "no"}), "image 1: annotated='no': give 0 or 1"),
        (content(annotation={"iscrowd": "0"}), "annotation 5: iscrowd='0': give 0 or 1"),
        (content(annotation={"area": float("nan")}), "annotation 5: area=nan: give a number of pixels"),
        (content(annotation={"area": 1e308}), "annotation 5: area=1e.308: give a number of pixels"),
        (content(annotation={"area": -1}), "annotation 5: area=-1: give a number of pixels"),
        (content(annotation={"category_id": 2**31}), "annotation 5: category_id=.*32 bits"),
        (content(annotation={"image_id": 10**1000}), "annotation 5: image_id=a number of about 1000 digits"),
        (content(annotation={"segmentation": [SQUARE[:-1]]}), "annotation 5: segmentation=.*7 coordinates"),
        (content(annotation={"segmentation": [SQUARE, {}]}), "annotation 5: segmentation=.*list of numbers"),
        (content(annotation={"segmentation": [[True] * 6]}), "annotation 5: segmentation=.*list of numbers"),
        (content(annotation={"segmentation": [[*SQUARE, 1e300, 4]]}), "annotation 5: segmentation=.*no pixels"),
        (content(annotation={"segmentation": [[*SQUARE, float("nan"), 4]]}), "annotation 5: segmentation=.*no pixels"),
        (
            content(annotation={"bbox": None, "segmentation": {"size": [10**9, 10**9], "counts": [10**18]}}),
            "annotation 5: segmentation=.*give a number of pixels",
        ),
        (
            content(annotation={"bbox": None, "segmentation": {"size": 7, "counts": [49]}}),
            "annotation 5: segmentation=",
        ),
    ],
)
def test_a_fault_names_file_record_field_and_remedy(write, value, words):
    with pytest.raises(ValueError, match=rf"instances\.json, {words}"):
        read_coco(write(value))
    problems = {}
    file = read_coco(write(value), problems=problems)
    assert len(problems) == 1 and len(file.images) + len(file.annotations) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "not valid JSON"),
        ("[1, 2]", "no COCO instances file"),
        ('{"images": []}', "no COCO instances file"),
        ('{"images": [], "annotations": {}}', "no COCO instances file"),
        ('{"images": [3], "annotations": []}', "image None: it has no 'id'"),
        ('{"images": [], "annotations": [[]]}', "annotation None: it has no"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "category 1: it has no 'name'"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_files_of_another_kind_are_refused(write, value, words):
    with pytest.raises(ValueError, match=rf"instances\.json.*{words}"):
        read_coco(write(value))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('{"images": [null], "annotations": []}', "image None: it has no 'id'"),
        ('{"images": [], "annotations": [null]}', "annotation None: it has no 'bbox'"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": {}}]}', "category 1: name="),
        ('{"images": [], "annotations": [], "annotations": [1]}', "'annotations' is given twice"),
        ('{"images": [], "annotations": [{"id": 1, "id": 2}]}', "'id' is given twice"),
        ('{"images": [' + "7" * 5000 + '], "annotations": []}', "a number of 5000 digits"),
    ],
)
def test_odd_content_is_told(write, value, words):
    with pytest.raises(ValueError, match=rf"instances\.json.*{words}"):
        read_coco(write(value))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_told_with_its_line(tmp_path, encoding):
    path = tmp_path / "instances.json"
    path.write_bytes('{"images": [],\n"annotations": [], "é": 1}'.encode(encoding))
    line = 1 if encoding == "utf-16" else 2
    with pytest.raises(ValueError, match=rf"instances\.json is not UTF-8 text \(line {line}: .*save it as UTF-8"):
        read_coco(path)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "instances.json"
    path.write_bytes(json.dumps(content()).encode("utf-8-sig"))
    assert len(read_coco(path).annotations) == 1


def test_objects_inside_of_records_are_no_records(write):
    """Some tools keep what they know of an annotation in objects that look like one."""
    inside = {"id": 5, "image_id": 1, "bbox": [1, 2, 3, 4], "history": [{"image_id": 9}]}
    value = content(annotation={"attributes": inside}, image={"source": {"file_name": 7}})
    value["info"] = {"image_id": 3}
    file = read_coco(write(value))
    assert [one.bbox for one in file.annotations] == [(10, 10, 40, 30)] and list(file.images) == [1]


def test_whole_floats_are_ids(write):
    value = content(image={"id": 1.0, "width": 64.0}, annotation={"id": 5.0, "image_id": 1.0, "category_id": 18.0})
    file = read_coco(write(value), wanted={5})
    assert [repr(one.id) for one in file.annotations] == ["5"] and [repr(key) for key in file.images] == ["1"]
    assert file.images[1].size == (48, 64) and file.category_of(file.annotations[0]) == "dog"


@pytest.mark.parametrize(("kind", "field"), [("images", "file_name"), ("categories", "name"), ("annotations", "area")])
def test_records_of_one_id_are_refused_if_they_differ(write, kind, field):
    value = content()
    again = dict(value[kind][0])
    value[kind].append(again)
    assert len(read_coco(write(value), wanted={5}).annotations) == 1
    again[field] = 7 if field == "area" else "other.jpg"
    with pytest.raises(
        ValueError, match=rf"instances\.json, {kind[:3]}\w+ \d+: several differing records have this id"
    ):
        read_coco(write(value), wanted={5})
    problems = {}
    file = read_coco(write(value), wanted={5}, problems=problems)
    assert len(problems) == 1 and len(file.images) + len(file.annotations) + len(file.categories) == 2


def test_annotations_of_no_image_of_the_file_are_told(write):
    file = read_coco(write(content(annotation={"image_id": "1"})))
    with pytest.raises(ValueError, match=r"their image_id are such as '1', the ids of the images \[1\]"):
        file.annotated_images()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.json: correct"):
        read_coco(tmp_path / "absent.json")
