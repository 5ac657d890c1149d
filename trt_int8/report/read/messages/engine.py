"""Messages about the build as a whole: where it begins and ends, the versions, the layers of the engine."""

from __future__ import annotations

from trt_int8.report.read.layer_information import read_detailed, read_one_line
from trt_int8.report.read.lines import said_version, text
from trt_int8.report.read.messages import Messages, begins, grammar

#: `trt_int8.build_engine` writes this line to say how the model was quantized.
RECORD_LINE = b"trt_int8: record "


@grammar
class EngineMessages(Messages):
    """Fills ``layers``, ``tensorrt``, ``product`` and ``record`` of the build, and begins new builds."""

    @begins(b"ONNX I")
    def header(self, message: bytes, number: int) -> None:
        """``ONNX IR version: …``: a line that only occurs before a build."""
        reading = self._reading
        if reading.section or (reading.tuned and not reading.calibrating):
            reading.close(number - 1)

    @begins(b"Origin")
    def original(self, message: bytes, number: int) -> bool:
        """``Original: 24 layers``."""
        if message.endswith(b" layers"):
            self.header(message, number)
        return message.startswith((b"Original: ", b"Original shape"))

    @begins(b"Adding")
    def adding(self, message: bytes, number: int) -> bool:
        """``Adding network input: …``: one line for each input, the first of which can begin a build."""
        reading = self._reading
        if message.startswith(b"Adding network input: "):
            if reading.section or reading.tuned:
                reading.close(number - 1)
            reading.build.verbose = True
        return message.startswith((b"Adding network input", b"Adding reformat layer", b"Adding 1 engine"))

    @begins(b"&&&& R")
    def running(self, message: bytes, number: int) -> bool:
        """``&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # …``."""
        reading = self._reading
        if reading.section or reading.tuned or reading.build.nodes:
            reading.close(number - 1)
        return self.version(message, number)

    @begins(b"Tensor")
    def version(self, message: bytes, number: int) -> bool:
        """``TensorRT version: 8.5.2``."""
        said = said_version(message)
        if said:
            self._reading.build.product, self._reading.build.tensorrt = said
        return said is not None

    @begins(b"trt_in")
    def ours(self, message: bytes, number: int) -> bool:
        """``trt_int8: building with TensorRT-RTX 1.7.1.116 for sm89``: `trt-int8 build` writes it first."""
        if message.startswith(RECORD_LINE):
            self._reading.build.record = text(message[len(RECORD_LINE) :])
            return True
        return message.startswith(b"trt_int8: building with ") and self.running(message, number)

    @begins(b"Layers")
    def layers(self, message: bytes, number: int) -> bool:
        """``Layers:``."""
        if message.rstrip() != b"Layers:":
            return False
        self._reading.new_section()
        return True

    @begins(b"Engine")
    def engine(self, message: bytes, number: int) -> bool:
        """``Engine Layer Information:``."""
        if message.startswith(b"Engine Layer Information:"):
            self._reading.new_section()
            return True
        return message.startswith(
            (b"Engine generation", b"Engine built", b"Engine Metadata", b"Engine deser")
        )

    @begins(b"Layer(")
    def one_line(self, message: bytes, number: int) -> None:
        """``Layer(CaskConvolution): NAME, Tactic: 0x…, in (Int8[1,3:4,8,8]) -> out (Half[1,64,4,4])``."""
        self._reading.add_layer(read_one_line(text(message), line=number))

    @begins(b"Name: ")
    def detailed(self, message: bytes, number: int) -> bool:
        """``Name: …, LayerType: …, Inputs: [ { Name: …, Dimensions: […], Datatype: … }], …``."""
        if b", LayerType: " not in message:
            return False
        self._reading.add_layer(read_detailed(text(message), line=number))
        return True
