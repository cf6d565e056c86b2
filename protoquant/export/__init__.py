"""The trained model as one file that needs no ProtoQuant: ONNX, and a program of torch.export."""
