# Says hello.
# expect: exit 0
# output: hello from Python
print("hello from Python")
