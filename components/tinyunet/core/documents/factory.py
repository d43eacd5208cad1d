"""What a model means on a production line: the part `factory` of metrics.json."""

from tinyunet.core.documents.base import JsonList, JsonObject


class Share(JsonObject):
    """A number of cases out of a total.

    Attributes:
        count: Number of the cases.
        of: The total.
        rate: `count / of`; None if the total is 0.
        interval: Wilson interval of the rate, 5 % to 95 %; None if the total is 0.
    """

    count: int
    of: int
    rate: float | None
    interval: JsonList[float] | None


class DefectType(JsonObject):
    """The defects of one type.

    Attributes:
        type: Name of the type; empty for images whose type is unknown.
        parts: Number of test images that show the type.
        passed: Number of these whose score is not above the image threshold; None if no verdict is defined.
        defects: Number of defects: connected regions of the labels.
        found: Number of the defects that are found.
        dice: Mean Dice of the images at the pixel threshold.
    """

    type: str
    parts: int
    passed: int | None
    defects: int
    found: int
    dice: float


class DefectSize(JsonObject):
    """The defects of one range of sizes.

    Attributes:
        smallest: Smallest area in pixels at which masks were compared.
        largest: Largest area in pixels; None if there is no limit.
        defects: Number of defects.
        found: Number of the defects that are found.
    """

    smallest: int
    largest: int | None
    defects: int
    found: int


class Factory(JsonObject):
    """Test in the words of a production line. An image is a part, a clean image is a good part.

    A defect is a connected region of a label (8-connectivity); it is found if a pixel of it is predicted at
    the pixel threshold. A false alarm is a connected region of the prediction that shares no pixel with a
    label. A part is stopped if its score is above the image threshold, otherwise it passes.

    Attributes:
        found: Defects that are found, of all defects.
        good_parts: Number of good parts.
        false_alarms: False alarms on good parts.
        false_alarms_per_1000: False alarms per 1,000 good parts; None without good parts.
        false_alarms_defective: False alarms on defective parts.
        passed: Defective parts that pass, of all defective parts; None without good parts.
        stopped: Good parts that are stopped, of all good parts; None without good parts.
        types: Results by type of defect; empty if the data do not name types.
        sizes: Results by size of defect.
        unseen_types: Types on Test that no training image shows.
    """

    found: Share
    good_parts: int
    false_alarms: int
    false_alarms_per_1000: float | None
    false_alarms_defective: int
    passed: Share | None
    stopped: Share | None
    types: JsonList[DefectType]
    sizes: JsonList[DefectSize]
    unseen_types: JsonList[str]
