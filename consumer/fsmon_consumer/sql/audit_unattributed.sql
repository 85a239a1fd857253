-- Dead letters that could not be told to be one event, by the message's key (the host, if it is sound).
SELECT coalesce(encode(key, 'escape'), '(no key)'), count(*)
FROM dead_letters
WHERE seq IS NULL AND topic = %(topic)s
GROUP BY key
ORDER BY 1
