(ns quorate.checkers.superseded
  "Invariant 6: a write of a superseded epoch never lasts: refused (grades A and B), or found and undone within one reconcile
  interval (grade C).

  Time during which the nemesis held a fault does not count against the interval: nobody can undo what nobody can reach."
  (:require [quorate.history :as h]))

(defn- steps
  "The writes that went back to an older epoch: {:write, :highest, :undone, the first later write that is as high again}."
  [writes]
  (loop [writes (seq writes), highest 0, found []]
    (if-let [write (first writes)]
      (let [epoch (get-in write [:value :epoch] 0)]
        (if (< epoch highest)
          (recur (next writes) highest
                 (conj found {:write write :highest highest
                              :undone (first (filter #(>= (get-in % [:value :epoch] 0) highest) (next writes)))}))
          (recur (next writes) epoch found)))
      found)))

(defn check [history]
  (let [faults (h/merged (h/fault-spans history))]
    (h/verdict
     6 (mapcat
        (fn [[service {:keys [grade reconcile-ms]}]]
          (let [slack (get (h/setup history) :slack-ms)]
            (mapcat
             (fn [{:keys [write highest undone]}]
               (let [told (str service ": a write of epoch " (get-in write [:value :epoch]) " landed over epoch " highest)
                     from (:time write)
                     to (if undone (:time undone) (h/end history))
                     stood (- to from (h/overlap faults from to))
                     allowed (h/ms->ns (+ reconcile-ms slack))]
                 (cond
                   (#{:A :B} grade) [told]
                   (> stood allowed) [(str told " and stood for " (h/ms stood) " ms without a fault, "
                                           (h/ms allowed) " are allowed")])))
             (steps (h/taken history service)))))
        (h/services history)))))
